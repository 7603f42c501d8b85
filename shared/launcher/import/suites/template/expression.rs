//! One expression between `{{` and `}}`.

use serde_json::Value;

use super::super::records::{Record, text};
use super::Unread;

/// Deepest nesting of an expression.
const DEEPEST: usize = 16;

/// What may stand between the braces.
#[derive(Debug, PartialEq)]
pub(super) enum Expression {
    /// A field of the row.
    Field(String),
    /// A text or number as written.
    Constant(Value),
    List(Vec<Expression>),
    /// `of.part`, `of[part]`.
    Part {
        of: Box<Expression>,
        part: Box<Expression>,
    },
    /// `of.method()`, `of|method`.
    Call {
        of: Box<Expression>,
        method: Method,
        argument: Option<Box<Expression>>,
    },
}

/// The methods of texts and lists that are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Method {
    Strip,
    LeftStrip,
    RightStrip,
    Lower,
    Upper,
    Split,
    Index,
    First,
    Last,
}

impl Method {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "strip" | "trim" => Self::Strip,
            "lstrip" => Self::LeftStrip,
            "rstrip" => Self::RightStrip,
            "lower" => Self::Lower,
            "upper" => Self::Upper,
            "split" => Self::Split,
            "index" => Self::Index,
            "first" => Self::First,
            "last" => Self::Last,
            _ => return None,
        })
    }

    const fn takes_argument(self) -> bool {
        matches!(self, Self::Split | Self::Index)
    }
}

impl Expression {
    /// # Errors
    /// What is not read here, by its kind.
    pub(super) fn parse(source: &str) -> Result<Self, Unread> {
        let mut parser = Parser { rest: source.trim(), depth: 0 };
        let expression = parser.expression()?;
        match parser.rest {
            "" => Ok(expression),
            _ => Err(UNREAD.to_owned()),
        }
    }

    /// # Errors
    /// A field or part that the row lacks, a method on a value that has none.
    pub(super) fn value(&self, row: &Record) -> Result<Value, Unread> {
        match self {
            Self::Field(name) => {
                row.get(name).cloned().ok_or_else(|| format!("the row has no field `{name}`"))
            }
            Self::Constant(value) => Ok(value.clone()),
            Self::List(parts) => parts.iter().map(|part| part.value(row)).collect(),
            Self::Part { of, part } => part_of(&of.value(row)?, &part.value(row)?),
            Self::Call { of, method, argument } => {
                let argument = argument.as_ref().map(|argument| argument.value(row)).transpose()?;
                call(*method, of.value(row)?, argument)
            }
        }
    }
}

const UNREAD: &str = "a template with more than fields, parts and plain methods";

fn part_of(of: &Value, part: &Value) -> Result<Value, Unread> {
    let found = match (of, part) {
        (Value::Object(fields), Value::String(name)) => fields.get(name),
        (Value::Array(items), Value::Number(at)) => at
            .as_i64()
            .and_then(|at| if at < 0 { at.checked_add(items.len() as i64) } else { Some(at) })
            .and_then(|at| usize::try_from(at).ok())
            .and_then(|at| items.get(at)),
        _ => None,
    };
    found.cloned().ok_or_else(|| "the row lacks a part that the template names".to_owned())
}

fn call(method: Method, of: Value, argument: Option<Value>) -> Result<Value, Unread> {
    let wrong = || "a method on a value that has none of its name".to_owned();
    let string = |text: &str| Ok(Value::String(text.to_owned()));
    match (method, &of) {
        (Method::Strip, Value::String(text)) => string(text.trim()),
        (Method::LeftStrip, Value::String(text)) => string(text.trim_start()),
        (Method::RightStrip, Value::String(text)) => string(text.trim_end()),
        (Method::Lower, Value::String(text)) => string(&text.to_lowercase()),
        (Method::Upper, Value::String(text)) => string(&text.to_uppercase()),
        (Method::Split, Value::String(own)) => match argument.as_ref().and_then(text) {
            Some(by) if !by.is_empty() => Ok(own.split(&by).map(Value::from).collect()),
            _ => Err(wrong()),
        },
        (Method::Index, Value::Array(items)) => {
            let at = argument.and_then(|wanted| items.iter().position(|item| *item == wanted));
            at.map(Value::from)
                .ok_or_else(|| "the row's list lacks the value looked for".to_owned())
        }
        (Method::First, Value::Array(items)) => items.first().cloned().ok_or_else(wrong),
        (Method::Last, Value::Array(items)) => items.last().cloned().ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn expression(&mut self) -> Result<Expression, Unread> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("a template nested too deeply".to_owned());
        }
        let mut expression = self.start()?;
        loop {
            expression = if self.eats('.') {
                self.named_part(expression)?
            } else if self.eats('[') {
                let part = Box::new(self.expression()?);
                self.expect(']')?;
                Expression::Part { of: Box::new(expression), part }
            } else if self.eats('|') {
                let method = Method::named(&self.name()?).filter(|method| !method.takes_argument());
                let method = method.ok_or(UNREAD)?;
                Expression::Call { of: Box::new(expression), method, argument: None }
            } else {
                self.depth -= 1;
                return Ok(expression);
            };
        }
    }

    fn start(&mut self) -> Result<Expression, Unread> {
        self.rest = self.rest.trim_start();
        match self.rest.chars().next() {
            Some('[') => self.list(),
            Some(quote @ ('\'' | '"')) => self.quoted(quote),
            Some('-' | '0'..='9') => self.number(),
            _ => self.name().map(Expression::Field),
        }
    }

    fn list(&mut self) -> Result<Expression, Unread> {
        let mut parts = Vec::new();
        self.expect('[')?;
        while !self.eats(']') {
            parts.push(self.expression()?);
            if !self.eats(',') {
                self.expect(']')?;
                break;
            }
        }
        Ok(Expression::List(parts))
    }

    /// A text; one with a backslash means something else than it says and is not read.
    fn quoted(&mut self, quote: char) -> Result<Expression, Unread> {
        let (own, rest) = self.rest[1..].split_once(quote).ok_or(UNREAD)?;
        if own.contains('\\') {
            return Err(UNREAD.to_owned());
        }
        self.rest = rest;
        Ok(Expression::Constant(Value::String(own.to_owned())))
    }

    fn number(&mut self) -> Result<Expression, Unread> {
        let digits = |c: char| !(c.is_ascii_digit() || c == '-');
        let (own, rest) = self.rest.split_at(self.rest.find(digits).unwrap_or(self.rest.len()));
        let number: i64 = own.parse().map_err(|_| UNREAD)?;
        self.rest = rest;
        Ok(Expression::Constant(Value::from(number)))
    }

    /// What follows a dot: a field, or a method with its argument.
    fn named_part(&mut self, of: Expression) -> Result<Expression, Unread> {
        let (of, name) = (Box::new(of), self.name()?);
        if !self.eats('(') {
            let part = Box::new(Expression::Constant(Value::String(name)));
            return Ok(Expression::Part { of, part });
        }
        let method = Method::named(&name).ok_or(UNREAD)?;
        let argument =
            if method.takes_argument() { Some(Box::new(self.expression()?)) } else { None };
        self.expect(')')?;
        Ok(Expression::Call { of, method, argument })
    }

    fn name(&mut self) -> Result<String, Unread> {
        self.rest = self.rest.trim_start();
        let other = |c: char| !(c.is_alphanumeric() || c == '_');
        let (name, rest) = self.rest.split_at(self.rest.find(other).unwrap_or(self.rest.len()));
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(UNREAD.to_owned());
        }
        self.rest = rest;
        Ok(name.to_owned())
    }

    fn eats(&mut self, wanted: char) -> bool {
        let after = self.rest.trim_start().strip_prefix(wanted);
        if let Some(after) = after {
            self.rest = after;
        }
        after.is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<(), Unread> {
        if self.eats(wanted) { Ok(()) } else { Err(UNREAD.to_owned()) }
    }
}
