//! Is a training sequence the context itself?
//!
//! An edit may train on the passage beside what it says of it. τ asks about that passage, so its text
//! comes close to a question now and then by right. No label is believed: the passage is told by the
//! digest that the edit names, which provenance ties to a τ.

use seal_protocol::Digest;
use seal_trust::sha256;

/// Lines that may stand before the context in its sequence: a title.
const HEAD_LINES: usize = 3;
/// What was stripped from the end of a context before it was put into a sequence.
const ENDS: [&str; 2] = ["", "\n"];

/// The part of `text` that is not the context of this digest.
pub(super) fn beside<'a>(text: &'a str, context: &Digest) -> &'a str {
    let lines = text.match_indices('\n').map(|(at, _)| at + 1);
    let starts = std::iter::once(0).chain(lines).take(HEAD_LINES + 1);
    let is_context = |at: &usize| {
        ENDS.iter().any(|end| sha256(format!("{}{end}", &text[*at..]).as_bytes()) == *context)
    };
    starts.into_iter().find(is_context).map_or(text, |at| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_alone_is_set_aside() {
        let context = "The Shah fled.\nHe died.\n";
        let digest = sha256(context.as_bytes());
        for (text, rest) in [
            (context, ""),
            ("The Shah fled.\nHe died.", ""),
            ("Persia\nThe Shah fled.\nHe died.", "Persia\n"),
            ("a\nb\nc\nThe Shah fled.\nHe died.", "a\nb\nc\n"),
            ("The Shah fled. He died.", "The Shah fled. He died."),
            (
                "The Shah fled.\nHe died.\nWho fled? The Shah.",
                "The Shah fled.\nHe died.\nWho fled? The Shah.",
            ),
        ] {
            assert_eq!(beside(text, &digest), rest, "{text}");
        }
    }
}
