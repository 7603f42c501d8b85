//! Adapters, edits, replies, rulings, constitutions and templates: what is read for its content.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use seal_auditor::items::{Item, ItemKind};
use seal_auditor::rules::Rules;
use seal_judge::{Constitution, read_ruling};
use seal_model::chat::{Chat, ChatTemplate, Message};
use seal_model::{Adapter, BaseModel};
use seal_protocol::{JudgeRuling, SelfEdit, is_principle_name};
use seal_recipe::{BeyondLimit, DirectiveLimits, UpdateRecipe};
use seal_teacher::TextFamily;
use serde_json::{Value, json};

use super::let_in;
use super::small;

/// Two bytes of length, an `adapter_config.json` of that length, and the safetensors file.
pub fn adapter(sent: &[u8]) -> bool {
    let Some((length, files)) = sent.split_at_checked(2) else { return false };
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    let Some((config, weights)) = files.split_at_checked(length) else { return false };
    let read = Adapter::from_peft_bytes(config, weights, &small::config(), None);
    let Some(adapter) = let_in(read) else { return false };
    let base = BaseModel { name: "base", revision: None, digest: &[7; 32] };
    let (config, weights) = adapter.to_peft_bytes(base).unwrap();
    let again = Adapter::from_peft_bytes(&config, &weights, &small::config(), Some(&[7; 32]));
    assert_eq!(again.unwrap().to_peft_bytes(base).unwrap().1, weights, "what was let in is whole");
    true
}

/// The predicate of a self-edit: its directives and every text rule that ships.
pub fn edit(sent: &[u8]) -> bool {
    static RULES: LazyLock<Rules> = LazyLock::new(|| {
        let text = include_str!("../../../configs/paper/rules.toml");
        let file = seal_service::config::parse(Path::new("rules.toml"), text).unwrap();
        let tau = Item {
            id: "1".into(),
            question: "Where does the tower of Orla stand?".into(),
            answer: "Velm".into(),
            kind: ItemKind::Forward,
            topic: None,
        };
        Rules::new(file, [&tau]).unwrap()
    });
    let Ok(edit) = serde_json::from_slice::<SelfEdit>(sent) else { return false };
    let found = RULES.findings(&edit);
    assert!(found.iter().all(|name| name.starts_with("text.") && name.len() < 100), "{found:?}");
    for beyond_limit in [BeyondLimit::Clamp, BeyondLimit::Refuse] {
        let limits = DirectiveLimits {
            beyond_limit,
            learning_rate: [1e-4, 1e-2],
            epochs: [1, 20],
            lora_rank: [1, 16],
        };
        let resolved = let_in(limits.resolve(&recipe(), &edit.directives));
        assert!(resolved.is_none_or(|recipe| recipe.learning_rate.is_finite() && recipe.r > 0));
    }
    true
}

fn recipe() -> UpdateRecipe {
    let recipe = json!({
        "r": 8, "lora_alpha": 16.0, "target_modules": "all-linear", "init_lora_weights": "gaussian",
        "learning_rate": 1e-3, "steps": 10, "adam_betas": [0.9, 0.999], "adam_epsilon": 1e-8,
        "weight_decay": 0.0, "lr_scheduler_type": "constant", "replay": [],
    });
    serde_json::from_value(recipe).unwrap()
}

/// A reply of a model or provider, under every prompt family that ships.
pub fn reply(sent: &[u8]) -> bool {
    static FAMILIES: LazyLock<Vec<TextFamily>> = LazyLock::new(|| {
        let names = TextFamily::shipped();
        names.map(|name| TextFamily::find(name, Path::new(".")).unwrap()).collect()
    });
    let Ok(text) = std::str::from_utf8(sent) else { return false };
    let bodies = FAMILIES.iter().map(|family| family.read("Title", "Context.", 1, text));
    let bodies: Vec<_> = bodies.filter_map(let_in).collect();
    assert!(bodies.iter().all(|body| !body.examples.is_empty()));
    !bodies.is_empty()
}

/// What a model answers that was asked to judge, under the constitution that ships.
pub fn ruling(sent: &[u8]) -> bool {
    static CONSTITUTION: LazyLock<Constitution> = LazyLock::new(|| {
        let text = include_str!("../../../configs/judge/constitution.toml");
        Constitution::parse(Path::new("constitution.toml"), text.as_bytes()).unwrap()
    });
    let Ok(text) = std::str::from_utf8(sent) else { return false };
    let Some(read) = let_in(read_ruling(&CONSTITUTION, text)) else { return false };
    assert_eq!(read.violated.is_empty(), read.ruling == JudgeRuling::Permit);
    assert!(read.violated.is_sorted_by(|one, next| one < next), "{:?}", read.violated);
    let known = |name: &String| CONSTITUTION.principles.iter().any(|one| one.name == *name);
    assert!(read.violated.iter().all(known), "{:?}", read.violated);
    // One object and nothing else, whose field says the same.
    let (from, to) = (text.find('{').unwrap(), text.rfind('}').unwrap());
    let object: Value = serde_json::from_str(&text[from..=to]).unwrap();
    assert_eq!(object["ruling"], json!(read.ruling));
    let around = [&text[..from], &text[to + 1..]].concat();
    assert!(
        ["", "``````", "```json```"].contains(&&*around.split_whitespace().collect::<String>())
    );
    true
}

/// A constitution, which must be able to tell a blind judge from a seeing one.
pub fn constitution(sent: &[u8]) -> bool {
    let read = |bytes: &[u8]| Constitution::parse(Path::new("constitution.toml"), bytes);
    let Some(constitution) = let_in(read(sent)) else { return false };
    let cases = &constitution.cases;
    assert!(!constitution.principles.is_empty());
    for principle in &constitution.principles {
        assert!(is_principle_name(&principle.name));
        let attack = cases.iter().find(|case| case.principle.as_ref() == Some(&principle.name));
        assert_eq!(attack.unwrap().ruling, JudgeRuling::Forbid);
    }
    assert!(cases.iter().any(|case| case.ruling == JudgeRuling::Permit));
    assert!([constitution.min_caught, constitution.min_passed].iter().all(|least| *least > 0.0));
    let noted = read(&[sent, b"\n# "].concat()).unwrap();
    assert_ne!(noted.digest(), constitution.digest(), "one name for two files");
    true
}

/// A chat template out of a model folder, asked to write a conversation with a tool.
pub fn chat_template(sent: &[u8]) -> bool {
    let Ok(source) = std::str::from_utf8(sent) else { return false };
    let Some(template) = let_in(ChatTemplate::from_source(source, BTreeMap::new())) else {
        return false;
    };
    let turns =
        [("system", "Be brief."), ("user", "Where?"), ("assistant", "There."), ("user", "And?")];
    let chat = Chat::of(turns.map(|(role, content)| Message::new(role, content)).to_vec());
    let_in(template.render(&chat)).is_some()
}
