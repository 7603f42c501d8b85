//! The training file: its lines, and how it is put into a form.
//!
//! **Invariant:** pure; the same examples are the same bytes.

use serde::Serialize;

use crate::ask::{Prompt, Turn};
use crate::egress::Redactor;

/// A prompt with the reply that is to be learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What was asked.
    pub prompt: Prompt,
    /// What was answered.
    pub reply: String,
}

/// A line of the file.
#[derive(Serialize)]
struct Line {
    messages: Vec<Turn>,
}

impl Example {
    /// The conversation as it may leave.
    fn turns(&self, redactor: &Redactor) -> Vec<Turn> {
        let mut turns = match self.prompt.redacted(redactor) {
            Prompt::Chat(turns) => turns,
            // As it is asked.
            Prompt::Text(text) => vec![Turn::user(text)],
        };
        let content = redactor.apply(&self.reply);
        turns.push(Turn { role: "assistant".to_owned(), content });
        turns
    }
}

/// JSON Lines, one conversation each.
pub(super) fn lines(examples: &[Example], redactor: &Redactor) -> String {
    let line = |example: &Example| {
        // Strings only: it always has a JSON form.
        serde_json::to_string(&Line { messages: example.turns(redactor) }).unwrap_or_default()
    };
    examples.iter().map(|example| line(example) + "\n").collect()
}

/// Type and bytes of the form that carries a file. `mark` occurs nowhere in it.
pub(super) fn form(name: &str, content: &str, mark: &str) -> (String, String) {
    let part = "Content-Disposition: form-data; name";
    let body = format!(
        "--{mark}\r\n{part}=\"purpose\"\r\n\r\nfine-tune\r\n--{mark}\r\n{part}=\"file\"; \
         filename=\"{name}\"\r\nContent-Type: application/jsonl\r\n\r\n{content}\r\n--{mark}--\r\n"
    );
    (format!("multipart/form-data; boundary={mark}"), body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::RedactionRule;

    #[test]
    fn a_line_is_the_conversation_that_was_had_without_what_may_not_leave() {
        let [name, pattern, replacement] = ["r", "Zeltor", "[it]"].map(str::to_owned);
        let redactor = Redactor::new(&[RedactionRule { name, pattern, replacement }]).unwrap();
        let turns = vec![Turn::system("List.".to_owned()), Turn::user("On Zeltor.".to_owned())];
        let examples = [
            Example { prompt: Prompt::Chat(turns), reply: "1. Zeltor\n\"é\"".to_owned() },
            Example { prompt: Prompt::Text("Go on:".to_owned()), reply: "so".to_owned() },
        ];
        let [system, user] =
            [r#"{"role":"system","content":"List."}"#, r#"{"role":"user","content":"On [it]."}"#];
        let first = r#"{"role":"assistant","content":"1. [it]\n\"é\""}"#;
        let second = r#"{"role":"user","content":"Go on:"},{"role":"assistant","content":"so"}"#;
        assert_eq!(
            lines(&examples, &redactor),
            format!("{{\"messages\":[{system},{user},{first}]}}\n{{\"messages\":[{second}]}}\n")
        );
    }
}
