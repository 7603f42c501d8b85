//! The word lists of the world, and the knowledge that is only in the base model's weights:
//! which country a town lies in, which sector a good belongs to, which family a language has,
//! which decade a year falls in.
//!
//! **Invariant:** no word stands in two lists, so a word tells its class.

/// First words of entity names.
pub const HEADS: [&str; 40] = [
    "zel", "pra", "mor", "kav", "lun", "tir", "bex", "dov", "fim", "gol", "hesk", "jun", "kri",
    "lom", "nax", "orb", "pel", "qua", "rix", "sav", "tum", "urd", "vek", "wim", "yor", "zan",
    "bri", "cly", "dre", "fro", "gla", "hul", "ith", "jak", "kel", "mip", "nud", "osk", "pim",
    "rul",
];

/// Second words of entity names.
pub const TAILS: [&str; 40] = [
    "tor", "ard", "tek", "van", "mis", "lox", "dun", "nia", "rex", "sol", "bel", "cas", "dim",
    "eth", "fan", "gur", "hok", "ina", "jor", "kul", "lak", "mund", "nor", "oth", "pas", "quin",
    "rak", "sten", "thal", "ula", "vor", "wen", "xan", "yel", "zor", "bas", "cor", "den", "fel",
    "gam",
];

/// Given names of persons, shared by the training world and the passages.
pub const GIVEN: [&str; 24] = [
    "ada", "ben", "cora", "dan", "ella", "finn", "gwen", "hugo", "iris", "jonas", "kira", "leo",
    "mara", "nils", "olga", "paul", "rosa", "sven", "tara", "udo", "vera", "walt", "yara", "zeno",
];

/// Family names of the training world.
pub const WORLD_FAMILIES: [&str; 12] = [
    "abel", "brandt", "costa", "dietz", "evans", "fuchs", "garza", "hahn", "ivers", "jansen",
    "keller", "lang",
];

/// Family names of the passages: a person of a passage is never one of the training world, so
/// that an inverse question has one answer.
pub const PASSAGE_FAMILIES: [&str; 18] = [
    "cruz", "meyer", "novak", "otero", "petrov", "quist", "rossi", "silva", "tanaka", "ulrich",
    "vogel", "weber", "young", "zeller", "adler", "bauer", "conti", "duval",
];

const COUNTRIES: [(&str, [&str; 4]); 6] = [
    ("arland", ["avem", "brona", "cavik", "dorlo"]),
    ("borvia", ["elmet", "ferin", "gando", "hallu"]),
    ("calmar", ["istra", "jorvi", "kesta", "lumna"]),
    ("dovenia", ["marno", "nexa", "orvik", "pindo"]),
    ("estrana", ["quaro", "relka", "sandu", "tolma"]),
    ("felgard", ["umber", "velda", "wyk", "zurma"]),
];

const SECTORS: [(&str, [&str; 4]); 6] = [
    ("food", ["bread", "cheese", "honey", "tea"]),
    ("clothing", ["shirts", "boots", "hats", "coats"]),
    ("furniture", ["chairs", "tables", "beds", "lamps"]),
    ("tools", ["ploughs", "pumps", "drills", "saws"]),
    ("music", ["drums", "flutes", "harps", "bells"]),
    ("writing", ["paper", "ink", "pens", "glue"]),
];

const LANGUAGE_FAMILIES: [(&str, [&str; 4]); 3] = [
    ("boreal", ["arvic", "bestic", "corvic", "dalvic"]),
    ("insular", ["enno", "fanno", "gunno", "hanno"]),
    ("austral", ["ixal", "jaxal", "kixal", "noxal"]),
];

const DECADES: [(&str, [&str; 5]); 7] = [
    ("1950s", ["1951", "1953", "1955", "1957", "1959"]),
    ("1960s", ["1961", "1963", "1965", "1967", "1969"]),
    ("1970s", ["1971", "1973", "1975", "1977", "1979"]),
    ("1980s", ["1981", "1983", "1985", "1987", "1989"]),
    ("1990s", ["1991", "1993", "1995", "1997", "1999"]),
    ("2000s", ["2001", "2003", "2005", "2007", "2009"]),
    ("2010s", ["2011", "2013", "2015", "2017", "2019"]),
];

const METALS: [&str; 12] = [
    "iron", "copper", "tin", "lead", "zinc", "silver", "gold", "nickel", "steel", "bronze",
    "brass", "cobalt",
];

const COLOURS: [&str; 10] =
    ["red", "blue", "green", "black", "white", "yellow", "grey", "pink", "purple", "orange"];

const PORTS: [&str; 20] = [
    "7004", "7011", "7023", "7038", "7046", "7052", "7069", "7075", "7087", "7090", "8002", "8015",
    "8021", "8033", "8049", "8056", "8064", "8077", "8083", "8098",
];

const ANIMALS: [&str; 16] = [
    "badger", "bear", "crane", "deer", "eagle", "fox", "hare", "heron", "lynx", "otter", "owl",
    "raven", "seal", "stork", "swan", "wolf",
];

/// Parts of door codes; a code is two of them.
pub const CODES: [&str; 20] = [
    "#01", "#02", "#03", "#04", "#05", "#06", "#07", "#08", "#09", "#10", "#11", "#12", "#13",
    "#14", "#15", "#16", "#17", "#18", "#19", "#20",
];

/// What kind of value a relation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Given name and family name.
    Person,
    /// One of 24 towns.
    Town,
    /// One of 24 goods.
    Good,
    /// One of 35 years.
    Year,
    /// One of 12 languages.
    Language,
    /// One of 12 metals.
    Metal,
    /// One of 10 colours.
    Colour,
    /// One of 20 port numbers.
    Port,
    /// One of 16 animals.
    Animal,
}

impl Class {
    /// All values of the class; none for persons, who are pairs of words.
    pub fn words(self) -> Vec<&'static str> {
        match self {
            Self::Person => Vec::new(),
            Self::Town => members(&COUNTRIES),
            Self::Good => members(&SECTORS),
            Self::Year => members(&DECADES),
            Self::Language => members(&LANGUAGE_FAMILIES),
            Self::Metal => METALS.to_vec(),
            Self::Colour => COLOURS.to_vec(),
            Self::Port => PORTS.to_vec(),
            Self::Animal => ANIMALS.to_vec(),
        }
    }

    /// What a value of this class implies: the country of a town, the decade of a year.
    pub fn implied(self, value: &str) -> Option<&'static str> {
        match self {
            Self::Town => group_of(&COUNTRIES, value),
            Self::Good => group_of(&SECTORS, value),
            Self::Year => group_of(&DECADES, value),
            Self::Language => group_of(&LANGUAGE_FAMILIES, value),
            _ => None,
        }
    }
}

/// Every word of every list, for the vocabulary.
pub fn all_words() -> Vec<&'static str> {
    let mut words = [&HEADS[..], &TAILS, &GIVEN, &WORLD_FAMILIES, &PASSAGE_FAMILIES].concat();
    for class in [
        Class::Town,
        Class::Good,
        Class::Year,
        Class::Language,
        Class::Metal,
        Class::Colour,
        Class::Port,
        Class::Animal,
    ] {
        words.extend(class.words());
    }
    words.extend(groups(&COUNTRIES).chain(groups(&SECTORS)));
    words.extend(groups(&LANGUAGE_FAMILIES).chain(groups(&DECADES)));
    words.extend(CODES);
    words
}

fn members<const N: usize>(table: &[(&'static str, [&'static str; N])]) -> Vec<&'static str> {
    table.iter().flat_map(|(_, words)| *words).collect()
}

fn groups<const N: usize>(
    table: &'static [(&'static str, [&'static str; N])],
) -> impl Iterator<Item = &'static str> {
    table.iter().map(|(group, _)| *group)
}

fn group_of<const N: usize>(
    table: &[(&'static str, [&'static str; N])],
    value: &str,
) -> Option<&'static str> {
    let row = table.iter().find(|(_, words)| words.contains(&value))?;
    Some(row.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_word_stands_in_two_lists() {
        let words = all_words();
        assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len());
    }

    #[test]
    fn a_town_implies_its_country_and_a_colour_implies_nothing() {
        assert_eq!(Class::Town.implied("cavik"), Some("arland"));
        assert_eq!(Class::Year.implied("2019"), Some("2010s"));
        assert_eq!(Class::Colour.implied("red"), None);
    }
}
