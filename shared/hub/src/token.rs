//! The access token: sent in a header, shown nowhere.

use std::fmt;

use zeroize::Zeroizing;

/// An access token of a hub. It has no `Display`, and its `Debug` hides it.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// The token in `text` without the blanks around it; `None` if nothing is left or it could not
    /// stand in a header.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let usable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        usable.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// For the header of a request, and for nothing else.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }

    /// `text` without this token, should somebody have sent it back.
    pub(crate) fn scrub(&self, text: &str) -> String {
        text.replace(self.0.as_str(), "<token>")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_trimmed_and_hidden() {
        let token = Token::new(" hf_secret\r\n").unwrap();
        assert_eq!(token.secret(), "hf_secret");
        assert_eq!(format!("{token:?} {token:#?}"), "Token(hidden) Token(hidden)");
        assert_eq!(token.scrub("got Bearer hf_secret"), "got Bearer <token>");
    }

    #[test]
    fn what_could_not_stand_in_a_header_is_no_token() {
        for text in ["", " \n", "two words", "new\nline", "naïve"] {
            assert!(Token::new(text).is_none(), "{text:?}");
        }
    }
}
