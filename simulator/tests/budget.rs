//! Budget files: what they say, what is wrong with them, and what comes of the cases.
#![allow(clippy::disallowed_methods)] // Tests make files.

use std::path::Path;

use forebay_simulator::budget::{Baseline, Budget, Change, Outcome, Report, Verdict};
use forebay_simulator::target::Edge;
use forebay_simulator::{Case, Figures, Metric, Size};
use quick_xml::events::Event;

const GIB: u64 = 1 << 30;

fn budget(text: &str) -> Budget {
    Budget::parse("forebay.toml", text).unwrap()
}

/// What a file's mistake is told as.
fn error(text: &str) -> String {
    Budget::parse("ci/forebay.toml", text).unwrap_err().to_string()
}

/// A device whose tokens/s are the gigabytes of the ceiling, 10 % around; it takes 1 GiB at least.
fn simulate(case: &Case) -> Result<Figures, String> {
    let ram = case.ram.unwrap_or(Size(4 * GIB)).0;
    if ram < GIB {
        return Err(format!("{} is below the floor of 1GiB", Size(ram)));
    }
    let rate = ram as f64 / GIB as f64;
    Ok(Figures::new([0.9, 1.0, 1.1].map(|factor| {
        move |metric: Metric| match metric {
            Metric::TokensPerSecond => rate * factor,
            Metric::TimeToFirstToken => 10.0 / (rate * factor),
            Metric::PeakRam => ram as f64,
            Metric::TimeToThrottle => f64::INFINITY,
            _ => 0.5,
        }
    })))
}

fn names(budget: &Budget) -> Vec<&str> {
    budget.cells().iter().map(|cell| cell.name.as_str()).collect()
}

fn verdicts(report: &Report) -> Vec<Vec<Verdict>> {
    let verdicts = |outcome: &Outcome| match outcome {
        Outcome::Judged { judgements, .. } => judgements.iter().map(|j| j.verdict).collect(),
        Outcome::Impossible { .. } => Vec::new(),
    };
    report.cases.iter().map(|case| verdicts(&case.outcome)).collect()
}

/// One case, judged as `judge` and `require` say.
fn one(ram: &str, rest: &str) -> String {
    format!("[[budget]]\nname = \"one\"\ndevice = \"d\"\nmodel = \"m\"\nram = \"{ram}\"\n{rest}\n")
}

#[test]
fn lists_are_multiplied_in_the_order_of_the_file() {
    let budget = budget(
        r#"
        [defaults]
        depth = [2, 4]
        tokens = 7
        ram = "1GiB"
        judge = "nominal"
        [[budget]]
        name = "phones"
        model = "m"
        ram = ["6144MiB", "8GiB"]
        device = ["b", "a"]
        require = ["tok_s >= 1"]
        [[budget]]
        name = "tablet"
        device = ["c"]
        depth = 8
        model = "m"
        judge = "best"
        require = ["tok_s >= 2", "peak_ram <= 1GiB"]
        "#,
    );
    let expected = [
        "phones ram=6GiB device=b depth=2",
        "phones ram=6GiB device=b depth=4",
        "phones ram=6GiB device=a depth=2",
        "phones ram=6GiB device=a depth=4",
        "phones ram=8GiB device=b depth=2",
        "phones ram=8GiB device=b depth=4",
        "phones ram=8GiB device=a depth=2",
        "phones ram=8GiB device=a depth=4",
        "tablet device=c",
    ];
    assert_eq!(names(&budget), expected);
    let cell = &budget.cells()[6];
    assert_eq!(cell.case, Case { ram: Some(Size(8 * GIB)), tokens: 7, depth: 2, ..Case::new("a", "m") });
    assert_eq!((cell.edge, cell.line, cell.allowed), (Edge::Nominal, 7, None));
    let last = &budget.cells()[8];
    assert_eq!((last.case.depth, last.case.ram, last.edge), (8, Some(Size(GIB)), Edge::Best));
}

#[test]
fn files_are_beside_the_budget_file_and_names_are_names() {
    let text = "[[budget]]\nname = \"x\"\ndevice = [\"iphone\", \"mine.toml\"]\nmodel = [\"m\", \"m.gguf\"]\n\
                routing = \"t.csv\"\nrequire = [\"tok_s > 0\"]";
    let budget = Budget::parse("ci/forebay.toml", text).unwrap();
    let case = &budget.cells()[3].case;
    let beside = |name: &str| Path::new("ci").join(name);
    assert_eq!(
        (&*case.device, &*case.model),
        (beside("mine.toml").to_str().unwrap(), beside("m.gguf").to_str().unwrap())
    );
    assert_eq!(case.routing, Some(beside("t.csv")));
    assert_eq!(budget.cells()[0].case.device, "iphone");
    assert_eq!(budget.cells()[3].name, "x device=mine.toml model=m.gguf", "the same from whichever folder");
}

#[test]
fn a_mistake_is_named_with_line_column_and_field() {
    let good = "[[budget]]\nname = \"x\"\ndevice = \"d\"\nmodel = \"m\"\n";
    let with = |rest: &str| error(&format!("{good}{rest}"));
    let require = "require = [\"tok_s >= 1\"]\n";
    assert_eq!(error(""), "ci/forebay.toml:1:1: there is no [[budget]]");
    assert_eq!(
        error("[budget]\nname = \"x\""),
        "ci/forebay.toml:1:1: budget: write [[budget]], a table for each budget"
    );
    assert_eq!(
        error("\n[budgets]"),
        "ci/forebay.toml:2:2: unknown field 'budgets'; there are [defaults] and [[budget]]"
    );
    assert_eq!(error("x = \"a\nb\""), "ci/forebay.toml:1:7: invalid basic string, expected `\"`");
    assert_eq!(with("require = []"), "ci/forebay.toml:5:11: require: an empty list requires nothing");
    assert_eq!(
        with("require = \"tok_s >= 1\""),
        "ci/forebay.toml:5:11: require: a list such as [\"tok_s >= 0.5\"] is wanted, not a string"
    );
    assert_eq!(with("require = [1]"), "ci/forebay.toml:5:12: require: a string is wanted, not a number");
    assert_eq!(
        with("require = [\"tok_s >= 1\",\n  \"peak_ram <= 6Gi\"]"),
        "ci/forebay.toml:6:16: require: '6Gi' is no size; write 512MiB, 1.5G or a number of bytes"
    );
    assert_eq!(
        with("require = [\"tok/s >= 1\"]"),
        "ci/forebay.toml:5:13: require: 'tok/s' is no figure of a simulation; there are tok_s, ttft_s, gb_per_token, \
         stall, compute, flash_busy, hit_rate, peak_ram, j_per_token, throttle_s"
    );
    assert_eq!(with(""), "ci/forebay.toml:1:1: require: is missing in budget 'x'");
    assert_eq!(
        with(&format!("{require}judge = \"median\"")),
        "ci/forebay.toml:6:10: judge: 'median' is no edge of a band; there are worst, nominal and best"
    );
    assert_eq!(
        with(&format!("{require}judge = [\"worst\"]")),
        "ci/forebay.toml:6:9: judge: a string is wanted, not a list"
    );
    for wrong in ["5", "\"5\"", "\"-1%\"", "\"inf%\""] {
        assert_eq!(
            with(&format!("{require}allow_regression = {wrong}")),
            "ci/forebay.toml:6:20: allow-regression: a percentage such as \"5%\" is wanted"
        );
    }
    assert_eq!(with(&format!("{require}depth = []")), "ci/forebay.toml:6:9: depth: an empty list makes no case");
    assert_eq!(
        with(&format!("{require}depth = [1, \"two\"]")),
        "ci/forebay.toml:6:13: depth: invalid type: string \"two\", expected u16"
    );
    assert_eq!(
        with(&format!("{require}ram = [\"6GiB\", \"6144MiB\"]")),
        "ci/forebay.toml:6:16: ram: '6GiB' is in the list twice"
    );
    assert_eq!(
        with(&format!("{require}policy = \"fifo\"")),
        "ci/forebay.toml:6:10: policy: unknown policy 'fifo'; there are forecast, lru, lfu and clock"
    );
    assert_eq!(with(&format!("{require}recall = nan")), "ci/forebay.toml:6:10: recall: there is no such number");
    assert_eq!(
        with(&format!("{require}kv-type = \"f16\"\nkv_type = \"f32\"")),
        "ci/forebay.toml:7:1: kv-type: given twice"
    );
    assert_eq!(
        with(&format!("{require}dvice = \"d\"")),
        "ci/forebay.toml:6:1: a case has no field 'dvice'; there are cache, capacity, context, core, depth, device, engine, experts-chosen, \
         kv-type, lookahead, model, page, policy, prompt, quant, ram, recall, routing, seed, tokens, window; and a budget has \
         name, require, judge and allow_regression beside them"
    );
}

#[test]
fn a_mistake_between_tables_is_named_where_the_second_one_begins() {
    let one = "[[budget]]\nname = \"x\"\ndevice = \"d\"\nmodel = \"m\"\nrequire = [\"tok_s >= 1\"]\n";
    assert_eq!(error(&format!("{one}{one}")), "ci/forebay.toml:6:1: name: there are two cases 'x'");
    assert_eq!(error(&one.replace("device = \"d\"\n", "")), "ci/forebay.toml:1:1: budget 'x': no device is given");
    assert_eq!(error(&one.replace("\"x\"", "\" \"")), "ci/forebay.toml:2:8: name: is empty");
    assert_eq!(error(&one.replace("name = \"x\"", "")), "ci/forebay.toml:1:1: name: is missing");
    assert_eq!(
        error(&format!("[defaults]\nrequire = [\"tok_s > 1\"]\n{one}")),
        "ci/forebay.toml:1:1: require: belongs in a [[budget]], not in [defaults]"
    );
    assert_eq!(error(&format!("defaults = 1\n{one}")), "ci/forebay.toml:1:12: defaults: has to be a table");
    let list = (0..1001).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(
        error(&format!("{one}seed = [{list}]\ntokens = [{list}]")),
        "ci/forebay.toml:1:1: x: makes more than 1000000 cases"
    );
    let missing = Budget::read("no/such.toml").unwrap_err().to_string();
    assert!(missing.starts_with("no/such.toml: "), "{missing}");
}

#[test]
fn the_edge_that_is_named_is_judged() {
    // 3.6, 4 and 4.4 tokens/s; 2.78, 2.5 and 2.27 s.
    let require = "require = [\"tok_s >= 4\", \"ttft_s <= 2.5\", \"tok_s < 4.4\"]";
    let judged =
        |judge: &str| verdicts(&budget(&one("4GiB", &format!("{require}\n{judge}"))).check(simulate)).remove(0);
    use Verdict::{Met, Missed};
    assert_eq!(judged(""), [Missed, Missed, Met], "the worst one by default");
    assert_eq!(judged("judge = \"worst\""), [Missed, Missed, Met]);
    assert_eq!(judged("judge = \"nominal\""), [Met, Met, Met], "on the bound");
    assert_eq!(judged("judge = \"best\""), [Met, Met, Missed]);
}

#[test]
fn a_case_that_cannot_be_simulated_fails_alone() {
    let text = "[[budget]]\nname = \"x\"\ndevice = \"d\"\nmodel = \"m\"\nram = [\"512MiB\", \"2GiB\"]\n\
                require = [\"tok_s >= 1\", \"peak_ram <= 6GiB\", \"throttle_s >= 600\", \"stall <= 40%\"]";
    let report = budget(text).check(simulate);
    assert!(!report.passed());
    assert_eq!(report.misses(), 2);
    let expected = "\
x ram=512MiB
  FAIL  cannot be simulated: 512MiB is below the floor of 1GiB
x ram=2GiB
  ok    tok_s >= 1                     1.80  worst of 1.80 / 2.00 / 2.20
  ok    peak_ram <= 6GiB           2.00 GiB  worst of 2.00 GiB / 2.00 GiB / 2.00 GiB
  ok    throttle_s >= 600             never  worst of never / never / never
  FAIL  stall <= 40%                 50.0 %  worst of 50.0 % / 50.0 % / 50.0 %  missed by 25.0 %
2 cases, 2 not within budget";
    assert_eq!(report.to_string(), expected);
}

/// The baseline of a run at `ram`.
fn baseline(ram: &str, require: &str) -> Baseline {
    Baseline::of(&budget(&one(ram, require)).check(simulate))
}

#[test]
fn worse_than_the_baseline_fails_above_the_requirement_too() {
    let require = "require = [\"tok_s >= 1\", \"ttft_s <= 60\"]\nallow_regression = \"5%\"";
    let before = baseline("4GiB", require);
    let now = |ram: &str, rest: &str| budget(&one(ram, rest)).check_beside(Some(&before), simulate, || ());
    use Verdict::{Met, Regressed};
    let verdict = |ram: &str| verdicts(&now(ram, require)).remove(0);
    assert_eq!(verdict("4GiB"), [Met, Met]);
    assert_eq!(verdict("3892MiB"), [Met, Regressed], "5.0 % less is allowed, and 5.2 % longer is not");
    assert_eq!(verdict("3GiB"), [Regressed, Regressed]);
    assert_eq!(verdict("5GiB"), [Met, Met]);
    let shown = now("3GiB", require).to_string();
    assert!(shown.contains("FAIL  tok_s >= 1                     2.70  worst of 2.70 / 3.00 / 3.30        25.0 % worse than 3.60; 5.0 % allowed"), "{shown}");
    let shown = now("5GiB", require).to_string();
    assert!(shown.contains("25.0 % better than 3.60"), "{shown}");
    assert!(now("4GiB", require).to_string().contains("as in the baseline"));
    let told = now("3GiB", &require.replace("\nallow_regression = \"5%\"", ""));
    assert!(told.passed(), "told, and nothing was said about how much is allowed");
    assert!(told.to_string().contains("25.0 % worse than 3.60"));
}

#[test]
fn what_a_baseline_does_not_have_is_said_and_does_not_fail() {
    let require = "require = [\"tok_s >= 1\"]\nallow_regression = \"0%\"";
    let before = baseline("4GiB", require);
    let renamed = one("4GiB", require).replace("\"one\"", "\"other\"");
    let report = budget(&renamed).check_beside(Some(&before), simulate, || ());
    assert!(report.passed());
    assert_eq!(report.gone, ["one"]);
    assert!(report.to_string().contains("not in the baseline"));
    assert!(report.to_string().contains("one\n  only in the baseline"));
    // The same name at another edge is another figure.
    let other = budget(&one("4GiB", &format!("{require}\njudge = \"best\"")));
    let report = other.check_beside(Some(&before), simulate, || ());
    let Outcome::Judged { judgements, .. } = &report.cases[0].outcome else { panic!("it can be simulated") };
    assert_eq!(judgements[0].change, Change::Unknown);
}

#[test]
fn a_baseline_is_read_as_it_was_written() {
    let require = "require = [\"tok_s >= 1\", \"ttft_s <= 60\", \"peak_ram <= 6GiB\", \"throttle_s > 1\"]";
    let before = baseline("3GiB", require);
    let json = before.to_json();
    let expected = r#"{
  "version": 1,
  "cases": {
    "one": {
      "judge": "worst",
      "figures": {
        "peak_ram": 3221230000,
        "throttle_s": null,
        "tok_s": 2.7,
        "ttft_s": 3.7037
      }
    }
  }
}
"#;
    assert_eq!(json, expected);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baseline.json");
    std::fs::write(&path, &json).unwrap();
    assert_eq!(Baseline::read(&path).unwrap(), before);
    let report = budget(&one("3GiB", require)).check_beside(Some(&before), simulate, || ());
    assert_eq!(report.to_string().matches("as in the baseline").count(), 4, "{report}");
    let error = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let error = Baseline::read(&path).unwrap_err().to_string();
        error.replace(&*path.to_string_lossy(), "B")
    };
    assert_eq!(
        error("{\n  \"version\": 1,\n  \"case\": 1}"),
        "B:3:8: unknown field `case`, expected `version` or `cases`"
    );
    assert_eq!(error("{\"version\": 2, \"cases\": {}}"), "B:1:1: version: 2 is not supported, only 1");
    assert_eq!(error(""), "B:1:1: EOF while parsing a value");
}

/// Names and messages that every format has to escape.
fn nasty() -> Report {
    let text = "[[budget]]\nname = \"a|b <c> & \\\"d\\\" _e_\\u0001\"\ndevice = \"d\"\nmodel = \"m\"\n\
                ram = [\"1\", \"4GiB\"]\nrequire = [\"tok_s >= 9\"]\n\
                [[budget]]\nname = \"fine\"\ndevice = \"d\"\nmodel = \"m\"\nrequire = [\"tok_s >= 1\"]";
    budget(text).check(simulate)
}

#[test]
fn junit_is_well_formed_and_says_what_failed() {
    let xml = nasty().to_junit();
    let mut reader = quick_xml::Reader::from_str(&xml);
    let (mut open, mut tests, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let event = reader.read_event().unwrap();
        if let Event::Start(e) = &event {
            let attribute = |name: &str| {
                let found = e.try_get_attribute(name).unwrap();
                found.map(|a| a.normalized_value(quick_xml::XmlVersion::Implicit1_0).unwrap().into_owned())
            };
            let element = e.name().as_ref().to_owned();
            match element.as_str() {
                "testcase" => tests.push((attribute("classname").unwrap(), attribute("name").unwrap())),
                "failure" => failures.push((attribute("type").unwrap(), attribute("message").unwrap())),
                "testsuites" => {
                    assert_eq!([attribute("tests"), attribute("failures")], ["3", "2"].map(|n| Some(n.into())))
                }
                "testsuite" => assert!(attribute("tests").is_some() && attribute("errors").is_some()),
                other => assert_eq!(other, "system-out"),
            }
            open.push(element);
        }
        match event {
            Event::End(e) => assert_eq!(open.pop().unwrap(), *e.name().as_ref()),
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(open.is_empty());
    let name = "a|b <c> & \"d\" _e_\u{fffd}";
    let expected = [(name, format!("{name} ram=1")), (name, format!("{name} ram=4GiB")), ("fine", "fine".to_owned())];
    assert_eq!(tests, expected.map(|(suite, test)| (suite.to_owned(), test)));
    let expected = [
        ("impossible", "cannot be simulated: 1 is below the floor of 1GiB"),
        ("missed", "tok_s >= 9: 3.60 (missed by 60.0 %)"),
    ];
    assert_eq!(failures, expected.map(|(kind, message)| (kind.to_owned(), message.to_owned())));
}

#[test]
fn markdown_has_one_row_for_each_requirement_whatever_the_names() {
    let expected = "\
### Budgets: 3 cases, 2 not within budget

| case | requirement | figure | worst / nominal / best | |
|---|---|--:|---|---|
| a\\|b &lt;c&gt; &amp; \"d\" \\_e\\_  ram=1 | | | | **FAIL** cannot be simulated: 1 is below the floor of 1GiB |
| a\\|b &lt;c&gt; &amp; \"d\" \\_e\\_  ram=4GiB | tok\\_s &gt;= 9 | 3.60 (worst) | 3.60 / 4.00 / 4.40 | **FAIL**, missed by 60.0 % |
| fine | tok\\_s &gt;= 1 | 3.60 (worst) | 3.60 / 4.00 / 4.40 | ok |
";
    assert_eq!(nasty().to_markdown(), expected);
}

#[test]
fn json_has_all_figures_and_verdicts() {
    let json: serde_json::Value = serde_json::from_str(&nasty().to_json()).unwrap();
    assert_eq!(json["passed"], false);
    assert_eq!(json["cases"][0]["error"], "1 is below the floor of 1GiB");
    assert_eq!(json["cases"][0]["figures"], serde_json::Value::Null);
    let case = &json["cases"][1];
    assert_eq!(case["case"]["ram"], "4GiB");
    assert_eq!(case["figures"]["throttle_s"]["worst"], serde_json::Value::Null, "never");
    assert_eq!(case["requirements"][0]["verdict"], "missed");
    assert_eq!(case["requirements"][0]["figure"], 3.6);
    assert_eq!(json["cases"][2]["passed"], true);
}
