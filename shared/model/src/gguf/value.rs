//! What a key of the metadata may hold.

/// One value. Whole numbers of every width are one kind; lists hold one kind each.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Int(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
}

impl Value {
    /// For messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Text(text) => super::shown(text),
            Self::Ints(list) => format!("a list of {} whole numbers", list.len()),
            Self::Floats(list) => format!("a list of {} numbers", list.len()),
            Self::Bools(list) => format!("a list of {} booleans", list.len()),
            Self::Texts(list) => format!("a list of {} texts", list.len()),
        }
    }
}
