//! Small files in each format, honest ones and hostile ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

fn lm_eval(path: &Path) -> anyhow::Result<Foreign> {
    read_lm_eval(&[path.to_owned()], None)
}

fn promptfoo(path: &Path) -> anyhow::Result<Foreign> {
    read_promptfoo(&[path.to_owned()])
}

fn inspect(path: &Path) -> anyhow::Result<Foreign> {
    let [input, target, choices, id] = ["input", "target", "choices", "id"].map(str::to_owned);
    read_inspect(&[path.to_owned()], &Fields { input, target, choices, id })
}

fn said(read: anyhow::Result<Foreign>) -> String {
    format!("{:#}", read.expect_err("refused"))
}

/// Questions, golds and ways of judging.
fn triples(foreign: &Foreign) -> Vec<(&str, &str, Judged)> {
    fn triple(asked: &Asked) -> (&str, &str, Judged) {
        (&asked.question, &asked.answer, asked.judged)
    }
    foreign.asked.iter().map(triple).collect()
}

fn left_out<'a>(foreign: &'a Foreign, place: &str) -> &'a str {
    let found = foreign.left_out.iter().find(|left| left.place == place);
    &found.unwrap_or_else(|| panic!("{place}: {:?}", foreign.left_out)).reason
}

const CHOICE_TASK: &str = r#"
task: history_easy
dataset_path: json
dataset_kwargs:
  data_files:
    test: data/test.jsonl
test_split: test
output_type: multiple_choice
description: "History of {{subject}}.\n\n"
doc_to_text: "Question: {{question.strip()}}\nAnswer:"
doc_to_target: "{{choices.label.index(answerKey)}}"
doc_to_choice: "{{choices.text}}"
num_fewshot: 5
metric_list:
  - metric: acc
    aggregation: mean
"#;

#[test]
fn a_task_of_choices_asks_for_the_right_one() {
    let folder = Folder::new();
    let row = |key: &str| {
        json!({"question": " Who fled? ", "subject": "Persia", "answerKey": key,
        "choices": {"text": ["the Khan", "the Shah"], "label": ["A", "B"]}})
    };
    folder.file("data/test.jsonl", &format!("{}\n{}\n", row("B"), row("E")));
    let foreign = lm_eval(&folder.file("history.yaml", CHOICE_TASK)).unwrap();
    let question = "History of Persia.\n\nQuestion: Who fled?\nAnswer:";
    assert_eq!(triples(&foreign), [(question, "the Shah", Judged::FirstChoice)]);
    assert_eq!(foreign.asked[0].place, "history_easy/0");
    assert!(left_out(&foreign, "history_easy/1").contains("lacks the value"));
    assert!(left_out(&foreign, "history_easy: num_fewshot").contains("no examples"));
    assert!(left_out(&foreign, "history_easy: doc_to_choice").contains("not compared"));
    assert_eq!(foreign.left_out.len(), 4, "{:?}", foreign.left_out);
    assert_eq!(foreign.files.len(), 2, "task and data, each with its digest");
}

#[test]
fn an_included_task_is_read_under_the_one_that_includes_it() {
    let folder = Folder::new();
    folder.file(
        "base.yaml",
        "output_type: generate_until\ndoc_to_text: old\ndoc_to_target: answer\n",
    );
    folder.file("rows.csv", "q,answer\r\n\"Who fled, and\nwhere?\",the Shah\r\n");
    let task = "include: base.yaml\ntask: t\ndoc_to_text: 'Q: {{q}}'\nfilter_list: [{name: x}]\nnovel: 1\n";
    let data = folder.path().join("rows.csv");
    let foreign = read_lm_eval(&[folder.file("t.yaml", task)], Some(&data)).unwrap();
    assert_eq!(triples(&foreign), [("Q: Who fled, and\nwhere?", "the Shah", Judged::Exact)]);
    assert!(left_out(&foreign, "t: novel").contains("does not know"));
    assert!(left_out(&foreign, "t: filter_list").contains("as they are written"));
    folder.file("loop.yaml", "include: loop.yaml\ntask: t\n");
    assert!(said(lm_eval(&folder.path().join("loop.yaml"))).contains("include each other"));
}

#[test]
fn a_task_whose_data_are_elsewhere_says_what_to_do() {
    let folder = Folder::new();
    let task = "task: t\ndataset_path: allenai/ai2_arc\ntest_split: test\ndoc_to_text: q\ndoc_to_target: a\n";
    let refused = said(lm_eval(&folder.file("t.yaml", task)));
    assert!(refused.contains("allenai/ai2_arc") && refused.contains("--data"), "{refused}");
    let group = said(lm_eval(&folder.file("g.yaml", "group: g\ntask: [a, b]\n")));
    assert!(group.contains("files of its tasks"), "{group}");
}

#[test]
fn code_in_a_task_is_refused_before_anything_is_parsed() {
    let folder = Folder::new();
    let hostile = [
        "task: t\nprocess_docs: !function utils.process\n",
        "task: t\ndoc_to_text: !FUNCTION utils.text\n",
        "task: t\nclass: !function task.Mine\n",
        "- class: Mine\n",
        "task: !!python/object/apply:os.system ['true']\n",
        "task: !<tag:yaml.org,2002:python/name:os.system> x\n",
        // No YAML at all, and still refused by its text.
        "{{{ !function a.b",
    ];
    for text in hostile {
        let refused = said(lm_eval(&folder.file("t.yaml", text)));
        assert!(refused.contains("nothing of it is run"), "{text}: {refused}");
    }
    let included = folder.file("t.yaml", "include: base.yaml\ntask: t\n");
    folder.file("base.yaml", "doc_to_text: !function a.b\n");
    assert!(said(lm_eval(&included)).contains("nothing of it is run"));
    let tagged = said(lm_eval(&folder.file("t.yaml", "task: !secret t\n")));
    assert!(tagged.contains("is no YAML that is read here"), "{tagged}");
}

const CONFIG: &str = r#"
# promptfoo's own example, shortened.
description: capitals
prompts:
  - 'Answer briefly: {{question}}'
  - 'Once more: {{question}}'
providers: [openai:gpt-5-mini]
defaultTest:
  assert:
    - {type: latency, threshold: 1000}
tests:
  - vars: {question: 'Capital of France?'}
    assert:
      - type: icontains
        value: Paris
      - type: llm-rubric
        value: is polite
  - vars: {question: 2 + 2?, sum: 4}
    threshold: 0.5
    assert:
      - type: equals
        value: '{{sum}}'
      - type: regex
        value: '(a+)+\1'
      - type: regex
        value: '^\d$'
  - vars: {other: x}
    assert: [{type: equals, value: y}]
  - file://more.csv
"#;

#[test]
fn each_assertion_that_states_the_answer_is_an_item() {
    let folder = Folder::new();
    folder.file(
        "more.csv",
        "question,__expected1,__expected2,__prefix\nWho?,Bo,contains: Lind,Well: \n",
    );
    let foreign = promptfoo(&folder.file("capitals.yaml", CONFIG)).unwrap();
    let asked = [
        ("Answer briefly: Capital of France?", "Paris", Judged::Substring),
        ("Answer briefly: 2 + 2?", "4", Judged::Exact),
        ("Answer briefly: 2 + 2?", "(?s:.*)(?:(a+)+\\1)(?s:.*)", Judged::Pattern),
        ("Answer briefly: 2 + 2?", "(?s:.*)(?:^\\d$)(?s:.*)", Judged::Pattern),
        ("Well: Answer briefly: Who?", "Bo", Judged::Exact),
        ("Well: Answer briefly: Who?", "Lind", Judged::Substring),
    ];
    assert_eq!(triples(&foreign), asked);
    assert!(left_out(&foreign, "capitals: prompts").contains("1 further"));
    assert!(left_out(&foreign, "capitals: providers").contains("own models"));
    assert!(left_out(&foreign, "capitals/test-1/assert-1").contains("`latency`"));
    assert!(left_out(&foreign, "capitals/test-1/assert-3").contains("by a model"));
    assert!(left_out(&foreign, "capitals/test-2: threshold").contains("of its own"));
    assert!(left_out(&foreign, "capitals/test-3").contains("no field `question`"));
    let suites = foreign.into_suites(ItemKind::Knowledge);
    let sizes: Vec<_> = suites.items.iter().map(|(judged, items)| (*judged, items.len())).collect();
    let expected = [(Judged::Exact, 2), (Judged::Substring, 2), (Judged::Pattern, 1)];
    assert_eq!(sizes, expected, "the pattern with a backreference is left out");
    let reason = &suites.left_out.last().unwrap().reason;
    assert!(reason.contains("linear time"), "{reason}");
}

#[test]
fn a_script_in_a_config_is_refused_before_anything_is_parsed() {
    let folder = Folder::new();
    let hostile = [
        "prompts: [a]\ntests:\n  - assert:\n      - type: javascript\n        value: 1\n",
        "prompts: [a]\ntests: [{assert: [{\"type\":\"not-python\",\"value\":\"x\"}]}]\n",
        "prompts: [a]\ntests: file://make.py:tests\n",
        "prompts: [file://prompt.js]\n",
        "prompts: [a]\nproviders: ['exec: rm -r /']\n",
        "prompts: [a]\ndefaultTest:\n  options:\n    transform: output.trim()\n",
        "prompts: [a]\nextensions:\n  - file://hook.mjs:all\n",
        "prompts: [a]\nx: !function a.b\n",
        "prompts: [a]\ntests: [{assert: [{type: webhook, value: 'https://x'}]}]\n",
    ];
    for text in hostile {
        let refused = said(promptfoo(&folder.file("c.yaml", text)));
        assert!(refused.contains("nothing of it is run"), "{text}: {refused}");
    }
    // Hidden from the text by an escape or an alias: not taken over either.
    let escaped = "prompts: [a]\ntests: [{assert: [{type: \"java\\x73cript\", value: '1'}]}]\n";
    let foreign = promptfoo(&folder.file("c.yaml", escaped)).unwrap();
    assert!(foreign.asked.is_empty());
    assert!(left_out(&foreign, "c/test-1/assert-1").contains("script"));
    folder.file("tests.yaml", "- assert:\n    - type: python\n      value: x\n");
    let beside =
        said(promptfoo(&folder.file("c.yaml", "prompts: [a]\ntests: file://tests.yaml\n")));
    assert!(beside.contains("nothing of it is run"), "{beside}");
}

#[test]
fn no_file_outside_the_folder_is_read() {
    let folder = Folder::new();
    folder.file("secret.csv", "q,__expected\nWho?,Bo\n");
    folder.file("in/own.txt", "x");
    std::os::unix::fs::symlink("../secret.csv", folder.path().join("in/link.csv")).unwrap();
    let absolute = folder.path().join("secret.csv").display().to_string();
    let names = [
        "../secret.csv",
        "./../secret.csv",
        "link.csv",
        &absolute,
        "https://x.invalid/a.csv",
        "gone.csv",
    ];
    for name in names {
        let config = format!("prompts: ['{{{{q}}}}']\ntests: 'file://{name}'\n");
        let refused = said(promptfoo(&folder.file("in/c.yaml", &config)));
        assert!(refused.contains("put a copy beside it"), "{name}: {refused}");
        let task = format!(
            "task: t\ndataset_path: json\ndataset_kwargs: {{data_files: '{name}'}}\ndoc_to_text: q\ndoc_to_target: a\n"
        );
        let refused = said(lm_eval(&folder.file("in/t.yaml", &task)));
        assert!(refused.contains("put a copy beside it"), "{name}: {refused}");
        let vars =
            format!("prompts: ['{{{{q}}}}']\ntests: [{{vars: {{q: 'file://{name}.txt'}}}}]\n");
        let refused = said(promptfoo(&folder.file("in/v.yaml", &vars)));
        assert!(refused.contains("put a copy beside it"), "{name}: {refused}");
    }
}

#[test]
fn bombs_end_at_once_in_an_error() {
    let folder = Folder::new();
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let many = format!("*a{},", level - 1).repeat(10);
        aliases += &format!("a{level}: &a{level} [{many}]\n");
    }
    let few: String =
        (1..=30).map(|level| format!("b{level}: &b{level} [*b{0}, *b{0}]\n", level - 1)).collect();
    let bombs = [
        aliases,
        format!("b0: &b0 [x]\n{few}"),
        "a: &a [*a]\n".to_owned(),
        "[".repeat(100_000),
        "- ".repeat(50_000),
        "{a: ".repeat(50_000),
        format!("task: t\n{}", "? ".repeat(50_000)),
        "a: 1\n---\nb: 2\n".to_owned(),
        "a: 1\na: 2\n".to_owned(),
        "x: {<<: {a: 1}}\n".to_owned(),
        format!("a: [{}]\n", "x,".repeat(600_000)),
        "\0\u{1}".to_owned(),
    ];
    let started = Instant::now();
    for bomb in &bombs {
        let head: String = bomb.chars().take(30).collect();
        let refused = said(lm_eval(&folder.file("bomb.yaml", bomb)));
        assert!(refused.contains("is no YAML that is read here"), "{head}: {refused}");
        assert!(refused.len() < 1000, "{head}: the error shows {} bytes", refused.len());
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn a_huge_file_and_what_is_no_file_are_refused_unread() {
    let folder = Folder::new();
    let huge = folder.path().join("huge.yaml");
    // Sparse: it takes no room on the disk.
    fs::File::create(&huge).unwrap().set_len(files::SETTINGS_BYTES + 1).unwrap();
    assert!(said(lm_eval(&huge)).contains("longer than 4 MiB"));
    assert!(said(lm_eval(folder.path())).contains("is no file"));
    assert!(said(lm_eval(Path::new("/dev/zero"))).contains("is no file"));
    let latin = folder.path().join("latin.yaml");
    fs::write(&latin, [0x74, 0xff]).unwrap();
    assert!(said(lm_eval(&latin)).contains("UTF-8"));
}

#[test]
fn samples_with_and_without_choices_are_read_in_each_format() {
    let folder = Folder::new();
    let samples = json!([
        {"id": 7, "input": "Capital of France?", "target": "Paris", "metadata": {"a": 1}},
        {"input": [{"role": "user", "content": "Who fled?"}], "target": ["the Shah", "Shah"]},
        {"id": "mc", "input": "Who fled?", "choices": ["the Khan", "the Shah"], "target": "B"},
        {"id": "two", "input": "Who fled?", "choices": ["a", "b"], "target": ["A", "B"]},
        {"id": "talk", "input": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}], "target": "z"},
        {"id": "box", "input": "x", "target": "y", "sandbox": "docker"},
        {"id": "none", "input": "x", "target": ""},
        {"id": "odd", "input": "x", "choices": "a,b", "target": "C"},
    ]);
    let foreign = inspect(&folder.file("d.json", &samples.to_string())).unwrap();
    let expected = [
        ("Capital of France?", "Paris", Judged::Substring),
        ("Who fled?", "the Shah", Judged::Substring),
        ("Who fled?\nA) the Khan\nB) the Shah", "the Shah", Judged::Substring),
    ];
    assert_eq!(triples(&foreign), expected);
    let places: Vec<&str> = foreign.asked.iter().map(|asked| asked.place.as_str()).collect();
    assert_eq!(places, ["sample-7", "sample-2", "sample-mc"]);
    for (place, reason) in [
        ("sample-2: target", "1 further"),
        ("sample-two", "several of its choices"),
        ("sample-talk", "conversation"),
        ("sample-box", "`sandbox`"),
        ("sample-none", "no target"),
        ("sample-odd", "none of its choices"),
    ] {
        assert!(left_out(&foreign, place).contains(reason), "{place}");
    }
    let lines: String = samples.as_array().unwrap().iter().map(|row| format!("{row}\n")).collect();
    assert_eq!(triples(&inspect(&folder.file("d.jsonl", &lines)).unwrap()), expected);
    let table = "\u{FEFF}input,target,id\n\"Capital of\nFrance?\",Paris,1\n";
    let foreign = inspect(&folder.file("d.csv", table)).unwrap();
    assert_eq!(triples(&foreign), [("Capital of\nFrance?", "Paris", Judged::Substring)]);
}

#[test]
fn a_sample_with_a_script_and_a_broken_row_are_refused_by_place() {
    let folder = Folder::new();
    let script = "{\"input\":\"x\",\"target\":\"y\",\"setup\": \"rm -r /\"}\n";
    assert!(said(inspect(&folder.file("d.jsonl", script))).contains("line 1"));
    let escaped = "{\"input\":\"x\",\"target\":\"y\",\"set\\u0075p\": \"rm -r /\"}\n";
    assert!(said(inspect(&folder.file("d.jsonl", escaped))).contains("row 1"));
    let table = "input,target,setup\nx,y,rm\n";
    assert!(said(inspect(&folder.file("d.csv", table))).contains("row 1"));
    for (name, text) in [
        ("d.jsonl", "{\"input\":\"canary\"\n"),
        ("d.json", "[1]"),
        ("d.json", "3"),
        ("d.json", "[{\"input\":\"canary\""),
        ("d.csv", "input,target\ncanary\n"),
        ("d.parquet", "PAR1"),
    ] {
        let refused = said(inspect(&folder.file(name, text)));
        assert!(refused.contains(name) && !refused.contains("canary"), "{text}: {refused}");
    }
    let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    assert!(said(inspect(&folder.file("d.json", &deep))).contains("d.json"));
}

#[test]
fn a_written_suite_is_pinned_and_is_what_the_auditor_reads() {
    let folder = Folder::new();
    let rows = json!([
        {"input": "canary-question?", "target": "canary-answer"},
        {"input": "canary-question?", "target": "canary-answer"},
        {"input": "other?", "target": "b"},
    ]);
    let foreign = inspect(&folder.file("d.json", &rows.to_string())).unwrap();
    let suites = foreign.into_suites(ItemKind::Knowledge);
    let run = folder.path().join("run");
    let written = write(&run, "d", "inspect", &suites, false).unwrap();
    let [suite] = written.as_slice() else { panic!("{written:?}") };
    assert_eq!(suite.path, run.join("auditor/suites/d-substring.jsonl"));
    let bytes = fs::read(&suite.path).unwrap();
    assert_eq!(suite.sha256, seal_trust::sha256(&bytes));
    let pinned = run.join("auditor/suites/d-substring.import.json");
    let pinned = fs::read_to_string(pinned).unwrap();
    let record: serde_json::Value = serde_json::from_str(&pinned).unwrap();
    assert_eq!(record["suite_sha256"], suite.sha256.to_string());
    assert_eq!(record["grading"]["grader"]["kind"], "substring");
    assert_eq!(record["left_out"][0]["place"], "sample-2");
    assert!(!pinned.contains("canary"), "the record names questions by their place");
    let read: Vec<Item> = String::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(read, suites.items[&Judged::Substring]);
    let grading: seal_auditor::grading::Grading =
        serde_json::from_value(record["grading"].clone()).unwrap();
    grading.check(&read).unwrap();
    let again = write(&run, "d", "inspect", &suites, false).unwrap_err().to_string();
    assert!(again.contains("--replace"), "{again}");
    write(&run, "d", "inspect", &suites, true).unwrap();
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever stands in a file: an answer or an error.
    #[test]
    fn no_bytes_stop_an_importer(
        text in "(\\PC|[ \n\"]|task: t\n|tests: |- |\\{|\\}|\\[|\\]|&a |\\*a |: |,|vars|assert|type: ){0,80}",
    ) {
        let folder = Folder::new();
        let _ = lm_eval(&folder.file("t.yaml", &text));
        let _ = promptfoo(&folder.file("c.yaml", &text));
        for name in ["d.json", "d.jsonl", "d.csv"] {
            let _ = inspect(&folder.file(name, &text));
        }
    }
}
