//! Numbers that a state gives to a person. Each function takes the number without separators.

use super::{digits, remainder};

/// Numbers printed on sample cards; known to belong to nobody.
const SSN_SAMPLES: [&[u8]; 2] = [b"078051120", b"219099999"];
/// Letter of a Spanish number by its remainder.
const DNI_LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
/// Value of a character at an odd place (from 1) of a codice fiscale; digits count as A to J.
const FISCAL_ODD: [u32; 26] =
    [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];

pub(super) fn is_us_ssn(number: &[u8]) -> bool {
    if number.len() != 9 || digits(number).is_none() || SSN_SAMPLES.contains(&number) {
        return false;
    }
    let (area, group, serial) = (&number[..3], &number[3..5], &number[5..]);
    area != b"000" && area != b"666" && area[0] != b'9' && group != b"00" && serial != b"0000"
}

pub(super) fn is_de_tax_id(number: &[u8]) -> bool {
    let Some(digits) = digits(number) else { return false };
    let [first @ .., check] = digits.as_slice() else { return false };
    if first.len() != 10 || first[0] == 0 {
        return false;
    }
    // One digit stands there twice or three times, all others at most once.
    let mut counts = [0_u32; 10];
    first.iter().for_each(|digit| counts[*digit as usize] += 1);
    let repeated: Vec<u32> = counts.into_iter().filter(|count| *count > 1).collect();
    if !matches!(repeated.as_slice(), [2 | 3]) {
        return false;
    }
    let product = first.iter().fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == *check
}

pub(super) fn is_es_dni(number: &[u8]) -> bool {
    let [body @ .., letter] = number else { return false };
    if body.len() != 8 {
        return false;
    }
    // A foreigner's number starts with X, Y or Z in place of 0, 1 or 2.
    let mut body = body.to_vec();
    if let Some(at) = b"XYZ".iter().position(|first| *first == body[0]) {
        body[0] = b"012"[at];
    }
    digits(&body).is_some_and(|digits| DNI_LETTERS[remainder(digits, 23) as usize] == *letter)
}

pub(super) fn is_fr_nir(number: &[u8]) -> bool {
    if number.len() != 15 {
        return false;
    }
    // The departments of Corsica are 2A and 2B, which count as 19 and 18.
    let mut plain = number.to_vec();
    match &number[5..7] {
        b"2A" => plain[5..7].copy_from_slice(b"19"),
        b"2B" => plain[5..7].copy_from_slice(b"18"),
        _ => {}
    }
    let Some(digits) = digits(&plain) else { return false };
    let month = digits[3] * 10 + digits[4];
    let (body, key) = digits.split_at(13);
    let known_month = matches!(month, 1..=12 | 20..=42 | 50..=99);
    matches!(digits[0], 1 | 2)
        && known_month
        && 97 - remainder(body.to_vec(), 97) == key[0] * 10 + key[1]
}

pub(super) fn is_it_fiscal_code(number: &[u8]) -> bool {
    let [body @ .., check] = number else { return false };
    if body.len() != 15 || !check.is_ascii_uppercase() {
        return false;
    }
    // Six letters, two digits, a month's letter, two digits, a letter, three digits; where two people
    // would have one code, letters stand for digits.
    let letter = |at: usize| body[at].is_ascii_uppercase();
    let numeral = |at: usize| body[at].is_ascii_digit() || b"LMNPQRSTUV".contains(&body[at]);
    let structured = (0..6).all(letter)
        && [6, 7, 9, 10, 12, 13, 14].into_iter().all(numeral)
        && b"ABCDEHLMPRST".contains(&body[8])
        && letter(11);
    let value = |byte: u8| u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' });
    let weighed = |(at, byte): (usize, &u8)| {
        let value = value(*byte);
        if at % 2 == 0 { FISCAL_ODD[value as usize] } else { value }
    };
    structured && body.iter().enumerate().map(weighed).sum::<u32>() % 26 == value(*check)
}

pub(super) fn is_nl_bsn(number: &[u8]) -> bool {
    let Some(digits) = digits(number).filter(|digits| digits.len() == 9) else { return false };
    let weighed: u32 = digits[..8].iter().zip((2..=9).rev()).map(|(digit, by)| digit * by).sum();
    weighed > 0 && weighed % 11 == digits[8]
}

pub(super) fn is_pl_pesel(number: &[u8]) -> bool {
    let Some(digits) = digits(number).filter(|digits| digits.len() == 11) else { return false };
    // The century is in the month: 20 more for 2000, 80 more for 1800.
    let (month, day) = ((digits[2] * 10 + digits[3]) % 20, digits[4] * 10 + digits[5]);
    let weighed: u32 = digits[..10]
        .iter()
        .zip([1, 3, 7, 9].into_iter().cycle())
        .map(|(digit, by)| digit * by)
        .sum();
    (1..=12).contains(&month) && (1..=31).contains(&day) && (10 - weighed % 10) % 10 == digits[10]
}

pub(super) fn is_br_cpf(number: &[u8]) -> bool {
    let Some(digits) = digits(number).filter(|digits| digits.len() == 11) else { return false };
    let check = |of: usize| {
        let weights = (2..=of as u32 + 1).rev();
        let weighed: u32 = digits[..of].iter().zip(weights).map(|(digit, by)| digit * by).sum();
        weighed * 10 % 11 % 10
    };
    digits.iter().any(|digit| *digit != digits[0])
        && check(9) == digits[9]
        && check(10) == digits[10]
}
