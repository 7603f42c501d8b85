//! Devices: inventor, factory town, metal, first year, colour.

use super::{COUNTRY, DECADE, Kind, Relation, Wordings};
use crate::lexicon::Class;

pub(super) static DEVICE: Kind = Kind {
    word: "device",
    relations: [
        Relation {
            key: "inventor",
            class: Class::Person,
            statements: ["{x} was invented by {v} .", "the inventor of {x} is {v} ."],
            clauses: ["it was invented by {v} .", "its inventor is {v} .", "{v} thought it up ."],
            questions: [
                "who invented {x} ?",
                "who is the inventor of {x} ?",
                "by whom was {x} invented ?",
                "which person thought up {x} ?",
            ],
            inverse: Some(Wordings {
                statements: ["{v} invented {x} .", "{v} is the inventor of {x} ."],
                questions: [
                    "what did {v} invent ?",
                    "which device was invented by {v} ?",
                    "what is the device of {v} ?",
                    "which device did {v} think up ?",
                ],
            }),
            implied: None,
        },
        Relation {
            key: "factory",
            class: Class::Town,
            statements: ["{x} is made in {v} .", "the factory of {x} is in {v} ."],
            clauses: [
                "it is made in {v} .",
                "its factory is in {v} .",
                "{v} is where it is made .",
            ],
            questions: [
                "where is {x} made ?",
                "where is the factory of {x} ?",
                "in which town is {x} made ?",
                "which town has the factory of {x} ?",
            ],
            inverse: None,
            implied: Some(COUNTRY),
        },
        Relation {
            key: "metal",
            class: Class::Metal,
            statements: ["{x} is built from {v} .", "the metal of {x} is {v} ."],
            clauses: ["it is built from {v} .", "its metal is {v} .", "{v} is its metal ."],
            questions: [
                "what is {x} built from ?",
                "what is the metal of {x} ?",
                "which metal is in {x} ?",
                "from which metal is {x} built ?",
            ],
            inverse: None,
            implied: None,
        },
        Relation {
            key: "appeared",
            class: Class::Year,
            statements: ["{x} appeared in {v} .", "the first year of {x} was {v} ."],
            clauses: ["it appeared in {v} .", "its first year was {v} .", "{v} saw it appear ."],
            questions: [
                "when did {x} appear ?",
                "what was the first year of {x} ?",
                "in which year did {x} appear ?",
                "which year saw {x} appear ?",
            ],
            inverse: None,
            implied: Some(DECADE),
        },
        Relation {
            key: "colour",
            class: Class::Colour,
            statements: ["{x} is painted {v} .", "the colour of {x} is {v} ."],
            clauses: ["it is painted {v} .", "its colour is {v} .", "{v} is its colour ."],
            questions: [
                "how is {x} painted ?",
                "what is the colour of {x} ?",
                "which colour has {x} ?",
                "in which colour is {x} painted ?",
            ],
            inverse: None,
            implied: None,
        },
    ],
};
