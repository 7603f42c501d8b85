//! Companies: founder, home town, product, first year, sign.

use super::{COUNTRY, DECADE, Kind, Relation, Wordings};
use crate::lexicon::Class;

pub(super) static COMPANY: Kind = Kind {
    word: "company",
    relations: [
        Relation {
            key: "founder",
            class: Class::Person,
            statements: ["{x} was founded by {v} .", "the founder of {x} is {v} ."],
            clauses: ["it was founded by {v} .", "its founder is {v} .", "{v} set it up ."],
            questions: [
                "who founded {x} ?",
                "who is the founder of {x} ?",
                "by whom was {x} founded ?",
                "which person set up {x} ?",
            ],
            inverse: Some(Wordings {
                statements: ["{v} founded {x} .", "{v} is the founder of {x} ."],
                questions: [
                    "what did {v} found ?",
                    "which company was founded by {v} ?",
                    "what is the company of {v} ?",
                    "which company did {v} set up ?",
                ],
            }),
            implied: None,
        },
        Relation {
            key: "home",
            class: Class::Town,
            statements: ["{x} is based in {v} .", "the home of {x} is {v} ."],
            clauses: ["it is based in {v} .", "its home is {v} .", "{v} is its base ."],
            questions: [
                "where is {x} based ?",
                "what is the home of {x} ?",
                "in which town is {x} based ?",
                "which town is the base of {x} ?",
            ],
            inverse: None,
            implied: Some(COUNTRY),
        },
        Relation {
            key: "product",
            class: Class::Good,
            statements: ["{x} makes {v} .", "the product of {x} is {v} ."],
            clauses: ["it makes {v} .", "its product is {v} .", "{v} is what it makes ."],
            questions: [
                "what does {x} make ?",
                "what is the product of {x} ?",
                "which good does {x} make ?",
                "which product comes from {x} ?",
            ],
            inverse: None,
            implied: Some(Wordings {
                statements: ["the sector of {x} is {w} .", "{x} works in {w} ."],
                questions: [
                    "what is the sector of {x} ?",
                    "in which sector is {x} ?",
                    "which sector does {x} work in ?",
                    "of which sector is {x} a part ?",
                ],
            }),
        },
        Relation {
            key: "opened",
            class: Class::Year,
            statements: ["{x} opened in {v} .", "the first year of {x} was {v} ."],
            clauses: ["it opened in {v} .", "its first year was {v} .", "{v} saw it open ."],
            questions: [
                "when did {x} open ?",
                "what was the first year of {x} ?",
                "in which year did {x} open ?",
                "which year saw {x} open ?",
            ],
            inverse: None,
            implied: Some(DECADE),
        },
        Relation {
            key: "sign",
            class: Class::Animal,
            statements: ["{x} carries the {v} .", "the sign of {x} is the {v} ."],
            clauses: ["it carries the {v} .", "its sign is the {v} .", "the {v} is its sign ."],
            questions: [
                "what does {x} carry ?",
                "what is the sign of {x} ?",
                "which animal does {x} carry ?",
                "which animal is the sign of {x} ?",
            ],
            inverse: None,
            implied: None,
        },
    ],
};
