//! Text, prompt with completion and conversation examples become sequences of a model that chats, and
//! it learns to stop from them.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use candle_core::Device;
use seal_model::chat::{ChatFormat, ChatSettings};
use seal_model::{Decoder, DecoderConfig, Family, LoraSpec, RopeScaling, Tokenizer};
use seal_protocol::{ChatMessage, ChatRole, LossPart, SelfEdit, ToolCall, TrainingExample};
use seal_recipe::{SequenceError, Sequencer};
use seal_training::{InnerJob, InnerRecipe, TrainSequence, inner_updates};

/// The tokens `</s>` and `<|turn|>` of the tokenizer that the templates were made with.
const TEXT_END: u32 = 1;
const TURN_END: u32 = 4;

fn templates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/model/tests/golden/chat")
}

/// A model folder's tokenizer files with one of the templates; `ends` end a text or turn.
fn folder(template: &str, ends: &[u32]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let to = |name: &str| dir.path().join(name);
    std::fs::copy(templates().join("tokenizer.json"), to("tokenizer.json")).unwrap();
    let template = templates().join(format!("{template}.jinja"));
    std::fs::copy(template, to("chat_template.jinja")).unwrap();
    let generation = serde_json::json!({ "bos_token_id": 0, "eos_token_id": ends });
    std::fs::write(to("generation_config.json"), generation.to_string()).unwrap();
    dir
}

struct Setting {
    tokenizer: Tokenizer,
    chat: ChatFormat,
}

impl Setting {
    fn new(template: &str, ends: &[u32], settings: ChatSettings) -> Self {
        let dir = folder(template, ends);
        let tokenizer = Tokenizer::load(dir.path()).unwrap();
        let chat = ChatFormat::load(dir.path(), &tokenizer, settings).unwrap();
        Self { tokenizer, chat }
    }

    fn sequencer(&self) -> Sequencer<'_> {
        Sequencer {
            tokenizer: &self.tokenizer,
            start: self.tokenizer.bos(),
            end: self.tokenizer.eos().unwrap(),
            max_tokens: 200,
            chat: Some(&self.chat),
        }
    }

    fn learned(&self, sequence: &TrainSequence) -> String {
        let tokens = sequence.tokens.iter().zip(&sequence.weights);
        let learned: Vec<u32> = tokens.filter(|(_, w)| **w > 0.0).map(|(t, _)| *t).collect();
        self.tokenizer.decode(&learned)
    }
}

fn edit(examples: Vec<TrainingExample>) -> SelfEdit {
    SelfEdit { examples, ..common::edit("a context", 0, &[]) }
}

fn conversation() -> TrainingExample {
    let turn = ChatMessage::new;
    TrainingExample::Messages {
        messages: vec![
            turn(ChatRole::User, "Who built it?"),
            turn(ChatRole::Assistant, "Ada did."),
            turn(ChatRole::User, "When?"),
            turn(ChatRole::Assistant, "In 1912."),
        ],
    }
}

fn every_kind() -> SelfEdit {
    let text = "Ada built the bridge.".to_owned();
    let (prompt, completion) = ("Who built it?".to_owned(), "Ada.".to_owned());
    edit(vec![
        TrainingExample::Text { text, part: LossPart::Edit },
        TrainingExample::PromptCompletion { prompt, completion },
        conversation(),
    ])
}

#[test]
fn each_kind_of_example_carries_loss_on_what_is_to_be_said_and_on_its_end() {
    for template in ["llama", "llama_marked"] {
        let setting = Setting::new(template, &[TEXT_END, TURN_END], ChatSettings::default());
        let sequences = setting.sequencer().edit(&every_kind()).unwrap();
        let learned: Vec<String> = sequences.iter().map(|s| setting.learned(s)).collect();
        let expected =
            ["Ada built the bridge.</s>", "Ada.<|turn|>", "Ada did.<|turn|>In 1912.<|turn|>"];
        assert_eq!(learned, expected, "{template}");
    }
}

#[test]
fn a_prompt_is_trained_as_it_is_asked() {
    let settings = ChatSettings { system: Some("Be brief.".to_owned()), ..ChatSettings::default() };
    let setting = Setting::new("qwen2", &[5], settings);
    let sequences = setting.sequencer().edit(&every_kind()).unwrap();
    let asked = setting.chat.question(&setting.tokenizer, "Who built it?").unwrap();
    let trained = &sequences[1].tokens;
    assert_eq!(trained[..asked.len()], asked, "the question in training is the question asked");
    assert!(setting.tokenizer.decode(&asked).contains("Be brief."));
    assert_eq!(setting.learned(&sequences[1]), "Ada.<|/turn|>");
}

#[test]
fn calls_of_tools_are_learned_and_what_tools_say_is_not() {
    let mut call = ChatMessage::new(ChatRole::Assistant, "");
    let arguments = r#"{"town": "Ur"}"#.to_owned();
    call.tool_calls =
        vec![ToolCall { id: "call00000".to_owned(), name: "weather".to_owned(), arguments }];
    let mut result = ChatMessage::new(ChatRole::Tool, "rain");
    result.tool_call_id = Some("call00000".to_owned());
    let messages = vec![
        ChatMessage::new(ChatRole::User, "Will it rain?"),
        call,
        result,
        ChatMessage::new(ChatRole::Assistant, "Yes."),
    ];
    let setting = Setting::new("llama", &[TURN_END], ChatSettings::default());
    let sequences = setting.sequencer().edit(&edit(vec![TrainingExample::Messages { messages }]));
    let sequences = sequences.unwrap();
    let expected = r#"{"call": "weather", "with": {"town": "Ur"}}<|turn|>Yes.<|turn|>"#;
    assert_eq!(setting.learned(&sequences[0]), expected);
}

#[test]
fn conversations_that_cannot_be_learned_are_refused_with_the_mend() {
    let setting = Setting::new("llama_marked", &[TURN_END], ChatSettings::default());
    let refusal = |sequencer: Sequencer<'_>, example| {
        sequencer.edit(&edit(vec![example])).unwrap_err().to_string()
    };
    let plain = Sequencer { chat: None, ..setting.sequencer() };
    assert!(refusal(plain, conversation()).contains("`[chat]`"));
    let asked = vec![ChatMessage::new(ChatRole::User, "Who?")];
    let nothing = TrainingExample::Messages { messages: asked };
    assert!(refusal(setting.sequencer(), nothing).contains("no assistant turn"));
    let short = Sequencer { max_tokens: 10, ..setting.sequencer() };
    let error = short.edit(&edit(vec![conversation()])).unwrap_err();
    assert!(matches!(error, SequenceError::TooLong { example: 0, limit: 10, .. }), "{error}");
    let mut call = ChatMessage::new(ChatRole::Assistant, "");
    let arguments = "{town: Ur}".to_owned();
    call.tool_calls = vec![ToolCall { id: String::new(), name: "weather".to_owned(), arguments }];
    let messages = vec![ChatMessage::new(ChatRole::User, "Rain?"), call];
    let error = refusal(setting.sequencer(), TrainingExample::Messages { messages });
    assert!(error.contains("`weather`") && error.contains("no JSON"), "{error}");
    // A folder whose only named end is another token than the template writes.
    let endless = Setting::new("llama_marked", &[TEXT_END], ChatSettings::default());
    let error = refusal(endless.sequencer(), conversation());
    assert!(error.contains("never learn to stop") && error.contains("eos_token_id"), "{error}");
}

fn decoder(vocab_size: usize) -> Decoder {
    let config = DecoderConfig {
        family: Family::Llama,
        vocab_size,
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 2,
        head_dim: 16,
        max_position_embeddings: 256,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        attention_bias: false,
        mlp_bias: false,
        sliding_window: None,
        tie_word_embeddings: true,
        bos_token_id: Some(0),
        eos_token_ids: vec![TEXT_END, TURN_END],
    };
    Decoder::init(&config, 5, &Device::Cpu).unwrap()
}

#[test]
fn every_kind_of_example_trains_and_a_batch_that_masks_the_end_is_refused() {
    let setting = Setting::new("llama_marked", &[TEXT_END, TURN_END], ChatSettings::default());
    let sequences = setting.sequencer().edit(&every_kind()).unwrap();
    let decoder = decoder(setting.tokenizer.vocab_size());
    let recipe = InnerRecipe {
        lora: LoraSpec::all(4),
        learning_rate: 2e-2,
        steps: 20,
        ..InnerRecipe::default()
    };
    let train = |sequences: Vec<TrainSequence>| {
        let job = InnerJob { sequences, seed: 1, start: None };
        inner_updates(&decoder, &[job], &recipe, &mut |_, _| {})
    };
    let trained = train(sequences.clone()).unwrap().remove(0).unwrap();
    let (first, last) = (trained.losses[0], *trained.losses.last().unwrap());
    // Frozen random embeddings bound the logits, so a few tenths of a nat are all there is to gain.
    assert!(last < first - 0.2, "{first} nats, then {last}");
    let mut endless = sequences;
    let turns = endless.last_mut().unwrap();
    for (token, weight) in turns.tokens.iter().zip(&mut turns.weights) {
        *weight = if *token == TURN_END { 0.0 } else { *weight };
    }
    let error = train(endless).unwrap_err();
    assert!(error.to_string().contains("stop"), "{error}");
}
