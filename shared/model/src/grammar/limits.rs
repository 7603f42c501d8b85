//! What a grammar may cost, before and while it is compiled.

use super::{Grammar, GrammarError, schema};
use llguidance::api::ParserLimits;

/// Longest regular expression or Lark grammar, in bytes.
const MAX_SOURCE_BYTES: usize = 64 << 10;
/// Deepest nesting of brackets in them.
const MAX_NESTING: usize = 64;
/// Stack of the thread that compiles: deep grammars recurse.
const STACK_BYTES: usize = 64 << 20;

/// llguidance's own limits, for a server that anyone may ask.
///
/// Lexer states take 1 to 2 kB each. A step's work is bounded by its fuel.
pub(super) fn parser_limits() -> ParserLimits {
    ParserLimits {
        initial_lexer_fuel: 1_000_000,
        max_lexer_states: 50_000,
        max_grammar_size: 100_000,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// How llguidance's errors begin when one of [`parser_limits`] was reached.
const EXHAUSTIONS: [&str; 10] = [
    "schema too large",
    "Schema intersection stack level exceeded",
    "initial lexer configuration (grammar) too big",
    "grammar size (number of symbols) too big",
    "too many expressions constructed",
    "too many states",
    "fuel exhausted",
    "maximum relevance check fuel",
    "Too many items",
    "DNF too large",
];

/// True if an error says that a limit was reached.
pub(super) fn is_exhaustion(problem: &str) -> bool {
    EXHAUSTIONS.iter().any(|words| problem.starts_with(words))
}

/// Refuses what should not even be parsed.
pub(super) fn check(grammar: &Grammar) -> Result<(), GrammarError> {
    match grammar {
        Grammar::JsonSchema(schema) => schema::check(schema),
        Grammar::Regex(source) | Grammar::Lark(source) => check_source(grammar.kind(), source),
    }
}

fn check_source(kind: &'static str, source: &str) -> Result<(), GrammarError> {
    let refuse = |problem: String| Err(GrammarError::TooLarge { kind, problem });
    if source.len() > MAX_SOURCE_BYTES {
        return refuse(format!("{} bytes, at most {MAX_SOURCE_BYTES}", source.len()));
    }
    let mut depth = 0usize;
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING {
            return refuse(format!("brackets nest deeper than {MAX_NESTING}"));
        }
    }
    Ok(())
}

/// Runs `work` where deep recursion has room.
pub(super) fn with_large_stack<T: Send>(
    work: impl FnOnce() -> Result<T, String> + Send,
) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        match thread.spawn_scoped(scope, work) {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err("the compiler panicked".into())),
            Err(error) => Err(format!("no thread to compile it on: {error}")),
        }
    })
}
