use serde_json::json;

use super::super::records::Record;
use super::*;

fn row() -> Record {
    let row = json!({
        "question": " Who fled? ", "answerKey": "B", "label": 1, "yes": true,
        "choices": {"text": ["the Khan", "the Shah"], "label": ["A", "B"]},
        "solution": "He ran. #### the Shah",
    });
    row.as_object().unwrap().clone()
}

fn rendered(source: &str) -> Result<String, Unread> {
    Template::parse(source)?.render(&row())
}

#[test]
fn what_real_tasks_write_is_read() {
    let cases = [
        ("Question: {{question.strip()}}\nAnswer:", "Question: Who fled?\nAnswer:"),
        ("{{question|trim}} {a} {", "Who fled? {a} {"),
        ("{{ choices.text[1] }}/{{choices['text'][-1]}}", "the Shah/the Shah"),
        ("{{choices.label.index(answerKey)}}", "1"),
        ("{{solution.split('####')[-1].strip()}}", "the Shah"),
        ("{{choices.text[label]|upper}} {{yes}}", "THE SHAH True"),
        ("a  {{- label -}}  b", "a1b"),
        ("no values", "no values"),
    ];
    for (source, expected) in cases {
        assert_eq!(rendered(source).as_deref(), Ok(expected), "{source}");
    }
    let list = Template::parse("{{[answerKey, choices.text[0], 'x', 2]}}").unwrap();
    assert_eq!(list.value(&row()), Ok(json!(["B", "the Khan", "x", 2])));
    assert_eq!(Template::parse("{{choices.label}}").unwrap().value(&row()), Ok(json!(["A", "B"])));
}

#[test]
fn what_would_have_to_be_run_is_named_and_not_read() {
    for source in [
        "{% for x in y %}{% endfor %}",
        "{# note #}",
        "{{ label + 1 }}",
        "{{ 0 if label else 1 }}",
        "{{ question.replace('a', 'b') }}",
        "{{ question.__class__() }}",
        "{{ cycler() }}",
        "{{ question | e }}",
        "{{ 'a\\n' }}",
        "{{ question",
        "{{}}",
        "{{ 9999999999999999999999 }}",
    ] {
        assert!(Template::parse(source).is_err(), "{source}");
    }
    let deep = format!("{{{{ {}1{} }}}}", "[".repeat(400), "]".repeat(400));
    assert!(Template::parse(&deep).is_err());
    assert!(Template::parse(&"a".repeat(LONGEST + 1)).is_err());
}

#[test]
fn what_the_row_lacks_is_named() {
    assert!(rendered("{{gone}}").unwrap_err().contains("`gone`"));
    for source in ["{{choices.text[7]}}", "{{choices.text}}", "{{label.strip()}}", "{{env.HOME}}"] {
        assert!(rendered(source).is_err(), "{source}");
    }
}

proptest::proptest! {
    #[test]
    fn no_template_stops_the_reader(source in "(\\PC|\\{\\{|\\}\\}|\\[|\\.|'|\\||-|é){0,60}") {
        if let Ok(template) = Template::parse(&source) {
            let _ = template.render(&row());
            let _ = template.value(&row());
        }
    }
}
