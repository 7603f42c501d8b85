//! ARC, both that are called so.
//!
//! - Grids (ARC-AGI): one task with `train` and `test`, rows of tasks with an `id`, or tasks by id, with
//!   the outputs of `test` in the task or in a file of solutions by id. A question shows the pairs of
//!   `train` and one input of `test`; the gold is its output.
//! - Science questions (AI2): `question` with choices, and the `answerKey` of the right one.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use super::files::{DATA_BYTES, Files};
use super::records::{self, Record, text};
use super::{Asked, Foreign, Judged};

/// Reads tasks, one file after another; `solutions` holds outputs by task.
///
/// # Errors
/// A file that cannot be read or holds no task at all.
pub(crate) fn read(paths: &[PathBuf], solutions: Option<&Path>) -> Result<Foreign> {
    let (mut foreign, mut files) = (Foreign::default(), Files::default());
    let solutions = match solutions {
        Some(path) => by_id(path, &files.open(path, DATA_BYTES)?)?,
        None => Map::new(),
    };
    for path in paths {
        let document = files.open(path, DATA_BYTES)?;
        let before = foreign.asked.len() + foreign.left_out.len();
        for (id, task) in tasks(path, &document)? {
            match task.contains_key("train") {
                true => grids(&id, &task, solutions.get(&id), &mut foreign),
                false => choice(&id, &task, &mut foreign),
            }
        }
        if foreign.asked.len() + foreign.left_out.len() == before {
            bail!("`{}` holds no task", path.display());
        }
    }
    foreign.files = files.read;
    Ok(foreign)
}

/// Tasks with their names.
fn tasks(path: &Path, document: &str) -> Result<Vec<(String, Record)>> {
    let mut rows = records::parse(path, document)?;
    let is_map =
        |row: &Record| !row.is_empty() && row.values().all(|task| task.get("train").is_some());
    if let [one] = rows.as_slice()
        && is_map(one)
    {
        let tasks = rows.remove(0).into_iter().filter_map(|(id, task)| match task {
            Value::Object(task) => Some((id, task)),
            _ => None,
        });
        return Ok(tasks.collect());
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let alone = rows.len() == 1;
    let named = |(at, task): (usize, Record)| {
        let id = task.get("id").and_then(text);
        let other = || if alone { stem.clone() } else { format!("{stem}-{}", at + 1) };
        (id.unwrap_or_else(other), task)
    };
    Ok(rows.into_iter().enumerate().map(named).collect())
}

fn by_id(path: &Path, document: &str) -> Result<Record> {
    match serde_json::from_str(document) {
        Ok(Value::Object(record)) => Ok(record),
        _ => bail!("`{}` holds no outputs by task: an object is needed", path.display()),
    }
}

/// Every input of `test` that has an output.
fn grids(id: &str, task: &Record, solutions: Option<&Value>, foreign: &mut Foreign) {
    let Some(shown) = task.get("train").and_then(pairs) else {
        return foreign.leave_out(id, "`train` is no list of pairs of grids");
    };
    let tests = task.get("test").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if tests.is_empty() {
        return foreign.leave_out(id, "it has no `test`");
    }
    for (at, test) in tests.iter().enumerate() {
        let place = format!("{id}-{at}");
        let output = test.get("output").or_else(|| solutions?.get(at));
        match (test.get("input").and_then(grid), output.and_then(grid)) {
            (Some(input), Some(answer)) => {
                let question = format!("{shown}Input:\n{input}\nOutput:");
                foreign.asked.push(Asked { place, question, answer, judged: Judged::Grid });
            }
            (None, _) => foreign.leave_out(place, "its input is no grid"),
            (_, None) => foreign.leave_out(place, "it has no output; name a file of --solutions"),
        }
    }
}

fn pairs(train: &Value) -> Option<String> {
    let pairs = train.as_array()?.iter().map(|pair| {
        let (input, output) = (grid(pair.get("input")?)?, grid(pair.get("output")?)?);
        Some(format!("Input:\n{input}\nOutput:\n{output}\n\n"))
    });
    pairs.collect()
}

/// Rows of numbers on lines of their own, as the grader for grids reads them.
fn grid(value: &Value) -> Option<String> {
    let row = |row: &Value| -> Option<String> {
        let cells = row.as_array()?.iter().map(|cell| cell.as_u64().filter(|cell| *cell < 10));
        let cells: Option<Vec<String>> = cells.map(|cell| Some(cell?.to_string())).collect();
        cells.filter(|cells| !cells.is_empty()).map(|cells| cells.join(" "))
    };
    let rows: Option<Vec<String>> = value.as_array()?.iter().map(row).collect();
    rows.filter(|rows| !rows.is_empty()).map(|rows| rows.join("\n"))
}

/// A question with choices, as the authors wrote it or as the hub has it.
fn choice(id: &str, row: &Record, foreign: &mut Foreign) {
    let question = row.get("question");
    let stem = question.and_then(|question| question.get("stem").or(Some(question)));
    let Some(stem) = stem.and_then(Value::as_str) else {
        return foreign.leave_out(id, "it has neither `train` nor a `question`");
    };
    let choices = question.and_then(|question| question.get("choices")).or(row.get("choices"));
    let key = row.get("answerKey").and_then(text);
    match choices.zip(key).and_then(|(choices, key)| chosen(choices, &key)) {
        Some(answer) => foreign.asked.push(Asked {
            place: id.to_owned(),
            question: stem.to_owned(),
            answer,
            judged: Judged::FirstChoice,
        }),
        None => foreign.leave_out(id, "its `answerKey` is none of its choices"),
    }
}

/// The text under a label: a list of pairs, or two lists.
fn chosen(choices: &Value, key: &str) -> Option<String> {
    let list = |name| choices.get(name).and_then(Value::as_array);
    let pairs: Vec<(Option<String>, Option<String>)> = match (list("label"), list("text")) {
        (Some(labels), Some(texts)) => {
            labels.iter().map(text).zip(texts.iter().map(text)).collect()
        }
        _ => {
            let field = |choice: &Value, name| choice.get(name).and_then(text);
            let pair = |choice: &Value| (field(choice, "label"), field(choice, "text"));
            choices.as_array()?.iter().map(pair).collect()
        }
    };
    pairs.into_iter().find(|(label, _)| label.as_deref() == Some(key))?.1
}

#[cfg(test)]
mod tests {
    use seal_auditor::graders;

    use super::*;

    fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    const TASK: &str = r#"{"train":[{"input":[[1,2]],"output":[[2,1]]}],
        "test":[{"input":[[3,4]],"output":[[4,3]]},{"input":[[5,6]]}]}"#;

    #[test]
    fn a_task_shows_its_pairs_and_asks_each_test_that_has_an_output() {
        let folder = tempfile::tempdir().unwrap();
        let task = written(folder.path(), "0a1b.json", TASK);
        let foreign = read(std::slice::from_ref(&task), None).unwrap();
        let [asked] = foreign.asked.as_slice() else { panic!("{:?}", foreign.asked) };
        assert_eq!(asked.question, "Input:\n1 2\nOutput:\n2 1\n\nInput:\n3 4\nOutput:");
        assert_eq!((asked.place.as_str(), asked.answer.as_str()), ("0a1b-0", "4 3"));
        assert!(graders::grid("[[4, 3]]", &asked.answer));
        assert_eq!(foreign.left_out[0].place, "0a1b-1");
        assert!(foreign.left_out[0].reason.contains("--solutions"));

        let solutions = written(folder.path(), "s.json", r#"{"0a1b": [[[9]], [[6,5]]]}"#);
        let foreign = read(&[task], Some(&solutions)).unwrap();
        let answers: Vec<&str> = foreign.asked.iter().map(|asked| asked.answer.as_str()).collect();
        assert_eq!(answers, ["4 3", "6 5"], "the task's own output comes first");
        assert_eq!(foreign.files.len(), 2);
    }

    #[test]
    fn tasks_by_id_and_tasks_in_lines_are_the_same_tasks() {
        let folder = tempfile::tempdir().unwrap();
        let task = TASK.replace('\n', " ");
        let map = written(folder.path(), "map.json", &format!("{{\"a\":{task},\"b\":{task}}}"));
        let line = |id: &str| format!("{{\"id\":\"{id}\",{}\n", &task[1..]);
        let lines = written(folder.path(), "lines.jsonl", &(line("a") + &line("b")));
        let places = |path: PathBuf| -> Vec<String> {
            read(&[path], None).unwrap().asked.into_iter().map(|asked| asked.place).collect()
        };
        assert_eq!(places(map), ["a-0", "b-0"]);
        assert_eq!(places(lines), ["a-0", "b-0"]);
    }

    #[test]
    fn science_questions_come_in_both_forms_with_the_words_of_the_right_choice() {
        let folder = tempfile::tempdir().unwrap();
        let rows = [
            r#"{"id":"q1","question":{"stem":"Why?","choices":[{"text":"Sun","label":"A"},{"text":"Rain","label":"B"}]},"answerKey":"B"}"#,
            r#"{"id":"q2","question":"Where?","choices":{"text":["Here","There"],"label":["1","2"]},"answerKey":"1"}"#,
            r#"{"id":"q3","question":"Who?","choices":{"text":["I"],"label":["A"]},"answerKey":"D"}"#,
            r#"{"id":"q4","answer":"?"}"#,
        ];
        let foreign = read(&[written(folder.path(), "arc.jsonl", &rows.join("\n"))], None).unwrap();
        let asked: Vec<(&str, &str)> =
            foreign.asked.iter().map(|one| (one.question.as_str(), one.answer.as_str())).collect();
        assert_eq!(asked, [("Why?", "Rain"), ("Where?", "Here")]);
        let left: Vec<&str> = foreign.left_out.iter().map(|left| left.place.as_str()).collect();
        assert_eq!(left, ["q3", "q4"]);
    }

    #[test]
    fn what_is_no_grid_is_left_out_and_what_is_no_task_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for train in
            ["7", "[{\"input\":[[10]],\"output\":[[1]]}]", "[{\"input\":[],\"output\":[[1]]}]"]
        {
            let text = format!("{{\"train\":{train},\"test\":[]}}");
            let foreign = read(&[written(folder.path(), "t.json", &text)], None).unwrap();
            assert!(foreign.asked.is_empty() && foreign.left_out[0].reason.contains("`train`"));
        }
        assert!(read(&[written(folder.path(), "none.json", "[]")], None).is_err());
        assert!(read(&[written(folder.path(), "odd.json", "7")], None).is_err());
    }
}
