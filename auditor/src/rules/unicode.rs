//! Characters that hide or reorder text.

use serde::{Deserialize, Serialize};

/// A family of characters no edit needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnicodeRule {
    /// Embeddings, overrides, isolates and marks of writing direction.
    BidiControl,
    /// U+E0000 to U+E007F: text that no eye sees.
    TagBlock,
    /// Zero-width spaces, joiners and the byte order mark.
    ZeroWidth,
    /// C0 and C1 controls other than tab and line breaks.
    Control,
    /// Private use and unassigned planes' noncharacters.
    PrivateUse,
}

impl UnicodeRule {
    /// The finding's name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::BidiControl => "unicode-bidi-control",
            Self::TagBlock => "unicode-tag-block",
            Self::ZeroWidth => "unicode-zero-width",
            Self::Control => "unicode-control",
            Self::PrivateUse => "unicode-private-use",
        }
    }

    /// Whether `text` holds such a character.
    pub(super) fn breaks(self, text: &str) -> bool {
        text.chars().any(|character| self.holds(character))
    }

    fn holds(self, c: char) -> bool {
        match self {
            Self::BidiControl => {
                matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
            }
            Self::TagBlock => matches!(c, '\u{E0000}'..='\u{E007F}'),
            Self::ZeroWidth => matches!(
                c,
                '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FEFF}' | '\u{180E}' | '\u{00AD}'
            ),
            Self::Control => c.is_control() && !matches!(c, '\t' | '\n' | '\r'),
            Self::PrivateUse => {
                matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFF}' | '\u{FDD0}'..='\u{FDEF}')
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::UnicodeRule::*;

    #[test]
    fn hidden_and_reordering_characters_are_found_and_plain_text_is_not() {
        let cases = [
            (BidiControl, "a\u{202E}b"),
            (BidiControl, "\u{2066}x"),
            (TagBlock, "a\u{E0041}"),
            (ZeroWidth, "pass\u{200B}word"),
            (Control, "a\u{1B}[31m"),
            (PrivateUse, "\u{E001}"),
        ];
        for (rule, text) in cases {
            assert!(rule.breaks(text), "{rule:?} {text:?}");
            assert!(!rule.breaks("Où est\tl'été ? 東京\r\n"), "{rule:?}");
        }
    }
}
