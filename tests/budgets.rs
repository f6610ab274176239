//! `forebay budget` and `forebay sweep` as their users run them, as far as it does not depend on what is simulated.
#![allow(clippy::disallowed_methods)] // Tests make files.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Every case of it fails wherever it runs: there is no such device.
const BUDGET: &str = "[[budget]]\nname = \"b\"\ndevice = [\"no-such-device\", \"nor-this\"]\nmodel = \"gpt-oss-120b\"\n\
                      require = [\"tok_s >= 1\"]\n";

fn forebay(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(args).current_dir(folder).env_remove("FOREBAY_LOG").stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn fails(folder: &Path, args: &[&str], code: i32, message: &str) {
    let output = forebay(folder, args);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(stderr.contains(message), "{args:?}: {stderr}");
}

#[test]
fn a_missed_budget_has_its_exit_code_and_all_reports() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("forebay.toml"), BUDGET).unwrap();
    let reports = ["--json", "r.json", "--junit", "r.xml", "--markdown", "r.md"];
    let output =
        forebay(folder.path(), &[&["budget", "--baseline", "b.json", "--update-baseline"][..], &reports].concat());
    assert_eq!(output.status.code(), Some(7));
    let table = text(&output.stdout);
    assert!(table.starts_with("b device=no-such-device\n  FAIL  cannot be simulated: "), "{table}");
    assert!(table.ends_with("2 cases, 2 not within budget\n"), "{table}");
    assert_eq!(text(&output.stderr), "forebay: forebay.toml: 2 cases, 2 not within budget\n");
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    assert!(read("r.xml").contains("<testsuite name=\"b\" tests=\"2\" failures=\"2\""));
    assert!(read("r.md").starts_with("### Budgets: 2 cases, 2 not within budget\n"));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&read("r.json")).unwrap()["passed"], false);
    assert_eq!(read("b.json"), "{\n  \"version\": 1,\n  \"cases\": {}\n}\n");
}

#[test]
fn a_broken_budget_file_is_no_missed_budget() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("forebay.toml"), BUDGET.replace("tok_s", "speed")).unwrap();
    fails(folder, &["budget"], 2, "forebay: forebay.toml:5:13: require: 'speed' is no figure of a simulation");
    fails(folder, &["budget", "gone.toml"], 1, "gone.toml: ");
    std::fs::write(folder.join("forebay.toml"), BUDGET).unwrap();
    fails(
        folder,
        &["budget", "--baseline", "b.json"],
        2,
        "b.json: there is no such baseline; --update-baseline makes one",
    );
    std::fs::write(folder.join("b.json"), "[]").unwrap();
    fails(folder, &["budget", "--baseline", "b.json"], 2, "b.json:1:");
}

#[test]
fn capacity_and_core_of_a_device_are_fields_of_a_case() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let model = ["--model", "gpt-oss-120b", "--window", "2GiB", "-n", "4", "--json"];
    let tokens_s = |device: &[&str]| {
        let output = forebay(folder, &[&["simulate"], device, &model].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["figures"]["tok_s"]["nominal"].as_f64().unwrap()
    };
    let phone = ["--device", "iphone-17-pro-256gb"];
    let own = tokens_s(&phone);
    assert_eq!(tokens_s(&[&phone[..], &["--capacity", "256"]].concat()), own);
    assert!(tokens_s(&[&phone[..], &["--capacity", "1024"]].concat()) > 1.3 * own);
    assert_ne!(tokens_s(&[&phone[..], &["--core", "small"]].concat()), own);
    let refuses = |args: &[&str], status, message: &str| {
        fails(folder, &[&["simulate", "--device", "oneplus-15r"], &model[..], args].concat(), status, message);
    };
    refuses(&["--core", "medium"], 2, "unknown core 'medium'; there are big and small");
    let several = "oneplus-15r comes with one only; there are several of iphone-17-pro-256gb, m2-mini-256gb";
    refuses(&["--capacity", "512"], 2, &format!("capacity: {several}"));
}

#[test]
fn a_sweep_has_a_row_for_each_cell_whatever_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let args =
        ["sweep", "--axis", "device=no-such-device,nor-this", "--axis", "depth=1..4:*2", "--model", "gpt-oss-120b"];
    let output = forebay(folder, &args);
    assert_eq!(output.status.code(), Some(0));
    let table = text(&output.stdout);
    assert!(table.starts_with("device,depth,tok_s_worst,"), "{table}");
    assert_eq!(table.lines().count(), 7);
    assert!(table.lines().nth(6).unwrap().starts_with("nor-this,4,,"), "{table}");
    assert!(text(&output.stderr).contains("6 of 6 cells could not be simulated; their rows say why"));
    let output = forebay(folder, &[&args[..], &["--csv", "t.csv", "--plot", "t.svg"]].concat());
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    assert_eq!(std::fs::read_to_string(folder.join("t.csv")).unwrap(), table);
    assert!(std::fs::read_to_string(folder.join("t.svg")).unwrap().starts_with("<svg "));
}

#[test]
fn advice_can_be_had_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let axes = ["--axis", "ram=1GiB,2GiB", "--device", "no-such-device", "--model", "gpt-oss-120b"];
    let args = [&["sweep"], &axes[..], &["--advise", "tok_s >= 1", "--json"]].concat();
    let output = forebay(folder.path(), &args);
    assert_eq!(output.status.code(), Some(0));
    let advice: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&advice["judge"], &advice["advice"][0]["met"]), (&"worst".into(), &false.into()));
    let tried = &advice["advice"][0]["quants"][0]["tried"][1];
    assert_eq!(tried["ram"], "2GiB");
    assert!(tried["error"].as_str().unwrap().starts_with("there is no device 'no-such-device'"), "{tried}");
}

#[test]
fn a_sweep_that_means_nothing_is_refused_before_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let refuses = |args: &[&str], message: &str| fails(folder.path(), &[&["sweep"], args].concat(), 2, message);
    refuses(&["--axis", "ram=1GiB"], "no device is given");
    refuses(&["--axis", "rom=1GiB"], "a case has no field 'rom'");
    let named = ["--device", "d", "--model", "m", "--axis", "ram=1GiB,2GiB"];
    refuses(&[&named[..], &["--plot", "x.pdf"]].concat(), "'x.pdf' ends neither in .svg nor in .png");
    refuses(
        &[&named[..], &["--axis", "seed=1..20:1", "--plot", "x.svg"]].concat(),
        "a plot of 20 lines cannot be read",
    );
    refuses(&[&named[..], &["--set", "depth=x"]].concat(), "invalid type: string \"x\", expected u16");
    refuses(&["--axis", "device=a", "--model", "m", "--advise", "tok_s >= 1"], "give an axis ram, or an axis quant");
    refuses(&[&named[..], &["--advise", "tok_s"]].concat(), "'tok_s' compares nothing");
    refuses(&[&named[..], &["--json"]].concat(), "--advise <TARGET>");
}
