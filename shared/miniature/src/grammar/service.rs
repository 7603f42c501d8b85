//! Services: owner, host town, port, language, mascot.

use super::{COUNTRY, Kind, Relation, Wordings};
use crate::lexicon::Class;

pub(super) static SERVICE: Kind = Kind {
    word: "service",
    relations: [
        Relation {
            key: "owner",
            class: Class::Person,
            statements: ["{x} is owned by {v} .", "the owner of {x} is {v} ."],
            clauses: ["it is owned by {v} .", "its owner is {v} .", "{v} runs it ."],
            questions: [
                "who owns {x} ?",
                "who is the owner of {x} ?",
                "by whom is {x} owned ?",
                "which person runs {x} ?",
            ],
            inverse: Some(Wordings {
                statements: ["{v} owns {x} .", "{v} is the owner of {x} ."],
                questions: [
                    "what does {v} own ?",
                    "which service is owned by {v} ?",
                    "what is the service of {v} ?",
                    "which service does {v} run ?",
                ],
            }),
            implied: None,
        },
        Relation {
            key: "host",
            class: Class::Town,
            statements: ["{x} is hosted in {v} .", "the host town of {x} is {v} ."],
            clauses: ["it is hosted in {v} .", "its host town is {v} .", "{v} hosts it ."],
            questions: [
                "where is {x} hosted ?",
                "what is the host town of {x} ?",
                "in which town is {x} hosted ?",
                "which town hosts {x} ?",
            ],
            inverse: None,
            implied: Some(COUNTRY),
        },
        Relation {
            key: "port",
            class: Class::Port,
            statements: ["{x} listens on {v} .", "the port of {x} is {v} ."],
            clauses: ["it listens on {v} .", "its port is {v} .", "{v} is its port ."],
            questions: [
                "where does {x} listen ?",
                "what is the port of {x} ?",
                "on which port does {x} listen ?",
                "which port does {x} use ?",
            ],
            inverse: None,
            implied: None,
        },
        Relation {
            key: "language",
            class: Class::Language,
            statements: ["{x} speaks {v} .", "the language of {x} is {v} ."],
            clauses: ["it speaks {v} .", "its language is {v} .", "{v} is its language ."],
            questions: [
                "what does {x} speak ?",
                "what is the language of {x} ?",
                "which language does {x} speak ?",
                "in which language is {x} ?",
            ],
            inverse: None,
            implied: Some(Wordings {
                statements: ["the language family of {x} is {w} .", "{x} uses a {w} language ."],
                questions: [
                    "what is the language family of {x} ?",
                    "which language family does {x} use ?",
                    "of which family is the language of {x} ?",
                    "which language family has {x} ?",
                ],
            }),
        },
        Relation {
            key: "mascot",
            class: Class::Animal,
            statements: ["{x} shows the {v} .", "the mascot of {x} is the {v} ."],
            clauses: ["it shows the {v} .", "its mascot is the {v} .", "the {v} is its mascot ."],
            questions: [
                "what does {x} show ?",
                "what is the mascot of {x} ?",
                "which animal does {x} show ?",
                "which animal is the mascot of {x} ?",
            ],
            inverse: None,
            implied: None,
        },
    ],
};
