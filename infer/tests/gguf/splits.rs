//! Models split into several files, complete and not.

use std::path::Path;

use forebay_infer::gguf::write::Writer;
use forebay_infer::gguf::{Model, TensorType};

struct Folder(tempfile::TempDir);

/// What a part says of itself.
struct Says {
    no: u16,
    count: u16,
    total: i32,
}

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    fn write(&self, name: &str, says: Option<Says>, tensors: &[&str]) -> &Folder {
        let mut w = Writer::new();
        if let Some(Says { no, count, total }) = says {
            if no == 0 {
                w.str("general.name", "whole");
            }
            w.scalar("split.no", no).scalar("split.count", count).scalar("split.tensors.count", total);
        }
        for tensor in tensors {
            w.tensor(tensor, TensorType::F32, &[8]);
        }
        let bytes = w.to_bytes(tensors.iter().map(|t| [t.len() as u8; 32])).expect("a valid file");
        std::fs::write(self.0.path().join(name), bytes).expect("written");
        self
    }

    /// Three parts of a model of four tensors.
    fn three(&self) -> &Folder {
        self.write("m-00001-of-00003.gguf", Some(Says { no: 0, count: 3, total: 4 }), &[]);
        self.write("m-00002-of-00003.gguf", Some(Says { no: 1, count: 3, total: 4 }), &["a", "b"]);
        self.write("m-00003-of-00003.gguf", Some(Says { no: 2, count: 3, total: 4 }), &["c", "d"])
    }

    fn open(&self, name: &str) -> Result<Model, String> {
        let shorten = |e: String| e.replace(&format!("{}/", self.0.path().display()), "");
        Model::open(self.0.path().join(name)).map_err(|e| shorten(e.to_string()))
    }

    #[track_caller]
    fn refused(&self, name: &str, expected: &str) {
        assert_eq!(self.open(name).expect_err("a bad split").as_str(), expected);
    }

    fn copy(&self, from: &str, to: &str) -> &Folder {
        std::fs::copy(self.0.path().join(from), self.0.path().join(to)).expect("copied");
        self
    }
}

#[test]
fn any_part_opens_the_whole() {
    let folder = Folder::new();
    folder.three();
    for opened in 1..=3 {
        let model = folder.open(&format!("m-0000{opened}-of-00003.gguf")).expect("complete");
        assert_eq!(model.metadata.str("general.name").ok(), Some("whole"));
        let tensors: Vec<_> = model.tensors.iter().map(|t| (t.name.as_str(), t.file)).collect();
        assert_eq!(tensors, [("a", 1), ("b", 1), ("c", 2), ("d", 2)]);
        let names: Vec<_> = model.files.iter().filter_map(|f| Path::new(f).file_name()?.to_str()).collect();
        assert_eq!(names, ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"]);
        assert_eq!(model.tensor("d").map(|t| t.file), Some(2));
        assert_eq!(model.tensor("e"), None);
        assert_eq!(model.total_bytes(), 128);
        for t in &model.tensors {
            assert!(t.end() <= model.file_len(usize::from(t.file)).expect("a file of the model"));
        }
    }
}

#[test]
fn one_part_is_no_split() {
    let folder = Folder::new();
    folder.write("a-00001-of-00001.gguf", Some(Says { no: 0, count: 1, total: 1 }), &["a"]);
    folder.write("b-00001-of-00001.gguf", None, &["a"]);
    // As merging tools leave it.
    folder.write("c.gguf", Some(Says { no: 0, count: 0, total: 1 }), &["a"]);
    for name in ["a-00001-of-00001.gguf", "b-00001-of-00001.gguf", "c.gguf"] {
        assert_eq!(folder.open(name).expect("whole").files.len(), 1);
    }
}

#[test]
fn a_missing_part() {
    let folder = Folder::new();
    folder.three();
    std::fs::remove_file(folder.0.path().join("m-00002-of-00003.gguf")).expect("removed");
    folder.refused(
        "m-00001-of-00003.gguf",
        "m-00002-of-00003.gguf: missing: part 2 of the 3 parts of the model m-00001-of-00003.gguf",
    );
    folder.refused(
        "m-00003-of-00003.gguf",
        "m-00002-of-00003.gguf: missing: part 2 of the 3 parts of the model m-00003-of-00003.gguf",
    );
}

#[test]
fn a_part_in_another_ones_place() {
    let folder = Folder::new();
    folder.three().copy("m-00001-of-00003.gguf", "m-00003-of-00003.gguf");
    folder.refused(
        "m-00002-of-00003.gguf",
        "m-00003-of-00003.gguf: key \"split.no\": 0 (counted from 0), but the file name says part 3 of 3",
    );
    let folder = Folder::new();
    folder.three().copy("m-00003-of-00003.gguf", "m-00002-of-00003.gguf");
    folder.refused(
        "m-00001-of-00003.gguf",
        "m-00002-of-00003.gguf: key \"split.no\": 2 (counted from 0), but the file name says part 2 of 3",
    );
}

#[cfg(unix)]
#[test]
fn a_cycle_of_links() {
    let folder = Folder::new();
    folder.three();
    let third = folder.0.path().join("m-00003-of-00003.gguf");
    std::fs::remove_file(&third).expect("removed");
    std::os::unix::fs::symlink("m-00001-of-00003.gguf", &third).expect("linked");
    folder.refused(
        "m-00001-of-00003.gguf",
        "m-00003-of-00003.gguf: key \"split.no\": 0 (counted from 0), but the file name says part 3 of 3",
    );
    std::fs::remove_file(&third).expect("removed");
    std::os::unix::fs::symlink("m-00003-of-00003.gguf", &third).expect("linked");
    assert!(
        folder
            .open("m-00001-of-00003.gguf")
            .expect_err("a link to itself")
            .starts_with("m-00003-of-00003.gguf: cannot read the file: ")
    );
}

#[test]
fn names_and_counts_that_disagree() {
    let folder = Folder::new();
    folder.write("whole.gguf", Some(Says { no: 0, count: 3, total: 4 }), &["a"]);
    folder.refused(
        "whole.gguf",
        "whole.gguf: key \"split.count\": 3 parts, but the file name does not end in -00001-of-00003.gguf",
    );
    folder.write("m-00001-of-00002.gguf", Some(Says { no: 0, count: 3, total: 4 }), &["a"]);
    folder.refused(
        "m-00001-of-00002.gguf",
        "m-00001-of-00002.gguf: key \"split.count\": 3 parts, but the file name says part 1 of 2",
    );
    folder.write("n-00001-of-00002.gguf", None, &["a"]);
    folder.refused(
        "n-00001-of-00002.gguf",
        "n-00001-of-00002.gguf: key \"split.count\": missing, but the file name says part 1 of 2",
    );
    folder.write("p-00001-of-65535.gguf", Some(Says { no: 0, count: 65_535, total: 4 }), &["a"]);
    folder.refused(
        "p-00001-of-65535.gguf",
        "p-00001-of-65535.gguf: key \"split.count\": 65535 parts, more than the limit of 4096",
    );
    folder.write("q-00001-of-00002.gguf", Some(Says { no: 0, count: 2, total: 2 }), &["a"]);
    folder.write("q-00002-of-00002.gguf", Some(Says { no: 1, count: 3, total: 2 }), &["b"]);
    folder.refused(
        "q-00001-of-00002.gguf",
        "q-00002-of-00002.gguf: key \"split.count\": 3 parts, but the file name says 2",
    );
    folder.write("q-00002-of-00002.gguf", None, &["b"]);
    folder.refused("q-00001-of-00002.gguf", "q-00002-of-00002.gguf: key \"split.count\" is missing");
}

#[test]
fn tensors_that_are_missing_or_twice() {
    let folder = Folder::new();
    folder.three().write("m-00002-of-00003.gguf", Some(Says { no: 1, count: 3, total: 4 }), &["a"]);
    folder.refused(
        "m-00001-of-00003.gguf",
        "m-00001-of-00003.gguf: key \"split.tensors.count\": 4 tensors, but the 3 parts have 3",
    );
    folder.write("m-00002-of-00003.gguf", Some(Says { no: 1, count: 3, total: 4 }), &["a", "c"]);
    folder.refused(
        "m-00001-of-00003.gguf",
        "m-00003-of-00003.gguf: tensor \"c\": a duplicate of the one in m-00002-of-00003.gguf",
    );
}

#[test]
fn a_broken_part_is_named() {
    let folder = Folder::new();
    folder.three();
    std::fs::write(folder.0.path().join("m-00003-of-00003.gguf"), b"GGUF\x03\0\0\0").expect("written");
    folder.refused(
        "m-00001-of-00003.gguf",
        "m-00003-of-00003.gguf: tensor_count: needs the file to have 16 bytes, but it has 8 (at byte 8)",
    );
}
