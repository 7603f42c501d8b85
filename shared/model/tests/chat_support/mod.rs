//! Reads what tests/peers/make_golden_chat.py wrote.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use seal_model::chat::{Chat, ChatError, ChatTemplate};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
pub struct Golden {
    pub conversations: BTreeMap<String, Chat>,
    pub texts: BTreeMap<String, BTreeMap<String, Case>>,
    #[serde(default)]
    pub masks: BTreeMap<String, BTreeMap<String, Mask>>,
    #[serde(default)]
    pub folders: BTreeMap<String, Folder>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Case {
    Text { text: String },
    Refused { refused: String, raised: Option<String> },
}

#[derive(Deserialize)]
pub struct Mask {
    pub ids: Vec<u32>,
    pub mask: Vec<u8>,
}

#[derive(Deserialize)]
pub struct Folder {
    pub files: BTreeMap<String, String>,
    pub plain: Case,
    pub tools: Case,
}

pub fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chat")
}

pub fn golden() -> Golden {
    serde_json::from_slice(&std::fs::read(golden_folder().join("chat.json")).unwrap()).unwrap()
}

pub fn specials() -> BTreeMap<String, String> {
    [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(n, t)| (n.to_owned(), t.to_owned())).into()
}

pub fn template(path: &Path) -> ChatTemplate {
    ChatTemplate::from_source(&std::fs::read_to_string(path).unwrap(), specials()).unwrap()
}

/// Says how a rendering differs from transformers'.
pub fn check(
    what: &str,
    template: &ChatTemplate,
    chat: &Chat,
    expected: &Case,
) -> Result<(), String> {
    match (template.render(chat), expected) {
        (Ok(ours), Case::Text { text }) if ours == *text => Ok(()),
        (Ok(ours), Case::Text { text }) => {
            let same = ours.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
            let near = |t: &str| {
                t.get(same.saturating_sub(20)..).map(|t| t.chars().take(60).collect::<String>())
            };
            Err(format!("{what}: {:?} instead of {:?}", near(&ours), near(text)))
        }
        (Ok(ours), Case::Refused { refused, .. }) => Err(format!(
            "{what}: refused by {refused}, ours says {:?}",
            ours.chars().take(80).collect::<String>()
        )),
        (Err(ChatError::Raised(ours)), Case::Refused { raised: Some(raised), .. })
            if ours == *raised =>
        {
            Ok(())
        }
        (Err(error), Case::Refused { raised: Some(raised), .. }) => {
            Err(format!("{what}: should be refused with {raised:?}, not {error}"))
        }
        (Err(_), Case::Refused { .. }) => Ok(()),
        (Err(error), Case::Text { .. }) => Err(format!("{what}: {error}")),
    }
}
