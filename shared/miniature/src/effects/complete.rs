//! Complete sets of lines, for the ceiling of what an edit can teach.

use crate::grammar::OPEN_WORDINGS;
use crate::lines::{DIRECTIONS, Direction, fill, questions_of, statements};
use crate::world::Profile;

/// Both statements of every fact in the given directions.
pub fn all_statements(profile: &Profile, ways: &[Direction]) -> Vec<String> {
    let mut lines = Vec::new();
    for way in ways {
        for (relation, value) in profile.facts() {
            let templates = statements(relation, *way).iter();
            lines.extend(templates.map(|template| fill(template, profile, relation, value)));
        }
    }
    lines
}

/// Every question in the open wordings and the given directions, with its answer.
pub fn all_questions(profile: &Profile, ways: &[Direction]) -> Vec<String> {
    let mut lines = Vec::new();
    for (way, wording) in ways.iter().flat_map(|way| OPEN_WORDINGS.map(|wording| (way, wording))) {
        let asked = questions_of(profile, *way, wording);
        lines.extend(asked.into_iter().map(|(_, question)| question.line()));
    }
    lines
}

/// Every line that helps.
pub fn everything(profile: &Profile) -> Vec<String> {
    [all_statements(profile, &DIRECTIONS), all_questions(profile, &DIRECTIONS)].concat()
}
