//! io_uring refused by the system, for real: a thread forbids itself the system calls.

use std::io;

use super::*;
use crate::testing::ManualClock;

/// Runs a test in a thread of its own, which takes the filters with it when it ends.
fn in_a_sandbox(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(test).join().unwrap());
}

/// From now on the system call fails with this error, for the calling thread. `false` where that cannot be arranged.
fn forbid(call: libc::c_long, errno: i32) -> bool {
    let rule = |code: u32, yes, no, k| libc::sock_filter { code: code as u16, jt: yes, jf: no, k };
    // Load the number of the call; if it is this one, fail; else allow.
    let mut rules = [
        rule(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        rule(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: rules.len() as u16, filter: rules.as_mut_ptr() };
    // SAFETY: sets a flag of this thread.
    let flagged = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0;
    // SAFETY: the program and its rules live during the call, which copies them.
    let filtered = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } == 0;
    if !(flagged && filtered) {
        eprintln!("SKIPPED: no system call filters here ({})", io::Error::last_os_error());
    }
    flagged && filtered
}

fn one_file() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    std::fs::write(&path, bytes(FILE_LEN)).unwrap();
    (folder, vec![path])
}

fn why_not(call: libc::c_long, errno: i32) -> Option<(Backend, Vec<PassedOver>)> {
    let (_folder, paths) = one_file();
    let window = Window::new(FRAME, 2).unwrap();
    forbid(call, errno).then(|| {
        let (_storage, choice) = open(&paths, &window, 2, Backend::Auto).unwrap();
        assert!(matches!(open(&paths, &window, 2, Backend::Uring), Err(OpenError::Uring { .. })));
        (choice.backend, choice.passed_over)
    })
}

#[test]
fn auto_falls_back_to_pread_and_says_why() {
    let cases = [
        (libc::SYS_io_uring_setup, libc::ENOSYS, "the kernel has none"),
        (libc::SYS_io_uring_setup, libc::EPERM, "it is not permitted here (Operation not permitted (os error 1))"),
        (libc::SYS_io_uring_enter, libc::EPERM, "it cannot be entered (Operation not permitted (os error 1))"),
    ];
    for (call, errno, why) in cases {
        in_a_sandbox(|| {
            // A system without io_uring at all gives its own reason; what counts is that pread is used.
            if let Some((backend, passed_over)) = why_not(call, errno) {
                assert_eq!((backend, passed_over.len()), (Backend::Pread, 1));
                let said = &passed_over[0].why;
                assert!(said.starts_with("io_uring cannot be used: "));
                eprintln!("wanted {why:?}, said {said:?}");
                if call == libc::SYS_io_uring_setup {
                    assert_eq!(*said, format!("io_uring cannot be used: {why}"));
                }
            }
        });
    }
}

#[test]
fn memory_that_may_not_be_registered_is_read_into_all_the_same() {
    in_a_sandbox(|| {
        let (_folder, paths) = one_file();
        let paths = [paths[0].clone(), paths[0].clone()];
        let window = Window::new(FRAME, 5).unwrap();
        let Some(AnyStorage::Uring(mut storage)) = open_or_skip(&paths, &window, 3, Backend::Uring) else { return };
        storage.forget_registrations();
        assert!(storage.describe().ends_with("plain buffers, plain files"));
        stream_all(storage, window, &bytes(FILE_LEN));
    });
}

/// A sandbox that closes while reads are in flight: every frame still comes back, with an error that names the cause.
#[test]
fn a_ring_that_is_forbidden_later_gives_every_frame_back() {
    in_a_sandbox(|| {
        let (_folder, paths) = one_file();
        let paths = vec![paths[0].clone(), paths[0].clone()];
        let window = Window::new(FRAME, 8).unwrap();
        let Some(storage) = open_or_skip(&paths, &window, 8, Backend::Uring) else { return };
        let mut pager = Pager::new(storage, ManualClock::new(), window, paths, odd_pages()).unwrap();
        let mut start = |pages: std::ops::Range<u32>, flush: bool| {
            for page in pages {
                assert_eq!(pager.load(PageId(page), Class::Demand), Load::Started);
            }
            if flush {
                pager.flush();
            }
        };
        start(0..3, true);
        start(3..6, false);
        if !forbid(libc::SYS_io_uring_enter, libc::EPERM) {
            return;
        }
        let mut errors = Vec::new();
        for _ in 0..20 {
            errors.extend(pager.wait().err().map(|error| error.to_string()));
        }
        pager.validate();
        assert_eq!(pager.in_flight(), 0);
        assert_eq!(pager.resident().count(), 3, "what the kernel had taken has arrived");
        assert_eq!(errors.len(), 3);
        assert!(errors.iter().all(|e| e.ends_with("Operation not permitted (os error 1)")), "{errors:?}");
        assert_eq!(pager.load(PageId(7), Class::Demand), Load::Started);
        assert!(pager.wait().is_err());
        pager.validate();
    });
}
