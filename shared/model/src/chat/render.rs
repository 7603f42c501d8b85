//! One rendering: parse, meter, compile, run.
//!
//! **Invariant:** whatever template and conversation, it ends: in a text, or in a [`ChatError`].

use super::compile::metered;
use super::error::ChatError;
use super::functions::MARKS;
use super::meter::Meter;
use super::print::text;
use super::source::{WHITESPACE, prepare};
use super::{filters, functions, methods, operators, predicates};
use jiff::civil::DateTime;
use minijinja::machinery::{CodeGenerator, Vm, make_string_output, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Deepest nesting of macros, loops and calls; a macro counts four.
const MAX_RECURSION: usize = 200;
/// Longest engine message that is passed on, in characters.
const MAX_PROBLEM_CHARS: usize = 300;

/// What a template wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Bytes of the text that `{% generation %}` blocks wrote, in order; empty where the template has
    /// no such blocks or spans were not asked for.
    pub assistant: Vec<Range<usize>>,
}

/// Renders `source` with the variables `context`, of which `input` bytes came in.
pub(super) fn render(
    source: &str,
    context: Value,
    input: usize,
    now: DateTime,
    marked: bool,
) -> Result<Rendered, ChatError> {
    let meter = Meter::new(input);
    let run = || run(source, context, input, now, marked, &meter);
    // The engine is not made for hostile templates; should one make it panic, that is a refusal.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(written) => written.and_then(|text| unmarked(text, marked)),
        Err(_) => Err(ChatError::Template { line: 0, problem: "the engine gave up".to_owned() }),
    }
}

/// Whether `source` is a template at all, and whether it has `{% generation %}` blocks.
pub(super) fn check(source: &str) -> Result<bool, ChatError> {
    let (prepared, has_generation) = prepare(source)?;
    let parsed = parse(&prepared, "chat template", SyntaxConfig, WHITESPACE);
    metered(&parsed.map_err(|error| problem(&error))?)?;
    Ok(has_generation)
}

fn run(
    source: &str,
    context: Value,
    input: usize,
    now: DateTime,
    marked: bool,
    meter: &Arc<Meter>,
) -> Result<String, ChatError> {
    let (prepared, _) = prepare(source)?;
    let parsed = parse(&prepared, "chat template", SyntaxConfig, WHITESPACE)
        .map_err(|error| problem(&error))?;
    let mut generator = CodeGenerator::new("chat template", &prepared);
    generator.compile_stmt(&metered(&parsed)?);
    let (instructions, blocks) = generator.finish();
    let env = environment(meter, Meter::fuel(input), now, marked);
    let mut written = String::new();
    let mut out = make_string_output(&mut written);
    let ended = Vm::new(&env).eval(&instructions, context, &blocks, &mut out, AutoEscape::None);
    drop(out);
    match ended {
        Ok(_) => Ok(written),
        Err(error) => Err(failure(&error, meter)),
    }
}

/// An engine that knows what a chat template may use, and nothing else.
fn environment(meter: &Arc<Meter>, fuel: u64, now: DateTime, marked: bool) -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_fuel(Some(fuel));
    env.set_recursion_limit(MAX_RECURSION);
    env.set_unknown_method_callback(methods::callback(Arc::clone(meter)));
    operators::install(&mut env, meter);
    functions::install(&mut env, meter, now, marked);
    filters::install(&mut env, meter);
    predicates::install(&mut env);
    let own = Arc::clone(meter);
    env.set_formatter(move |out, _, value| {
        let text = text(&own, value)?;
        own.charge(text.len())?;
        out.write_str(&text).map_err(Error::from)
    });
    env
}

fn failure(error: &Error, meter: &Meter) -> ChatError {
    if let Some(message) = meter.raised() {
        return ChatError::Raised(message);
    }
    if meter.is_overdrawn() {
        return ChatError::Limit("the memory that a conversation of this size needs");
    }
    if error.kind() == ErrorKind::OutOfFuel {
        return ChatError::Limit("the steps that a conversation of this size needs");
    }
    problem(error)
}

fn problem(error: &Error) -> ChatError {
    let problem = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    ChatError::Template {
        line: error.line().unwrap_or(0),
        problem: problem.chars().take(MAX_PROBLEM_CHARS).collect(),
    }
}

/// Takes the marks out of a text and says where they were.
fn unmarked(marked_text: String, marked: bool) -> Result<Rendered, ChatError> {
    if !marked {
        return Ok(Rendered { text: marked_text, assistant: Vec::new() });
    }
    let mut text = String::with_capacity(marked_text.len());
    let (mut assistant, mut open) = (Vec::new(), None);
    for character in marked_text.chars() {
        match character {
            c if c == MARKS[0] && open.is_none() => open = Some(text.len()),
            c if c == MARKS[1] => match open.take() {
                Some(start) => assistant.push(start..text.len()),
                None => return Err(torn()),
            },
            c if c == MARKS[0] => return Err(torn()),
            c => text.push(c),
        }
    }
    if open.is_some() { Err(torn()) } else { Ok(Rendered { text, assistant }) }
}

fn torn() -> ChatError {
    ChatError::Template {
        line: 0,
        problem: "`{% generation %}` blocks are nested, or what they wrote was cut".to_owned(),
    }
}
