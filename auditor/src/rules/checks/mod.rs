//! What tells a match that counts from one that only looks like it: of a number that belongs to a person
//! its length, structure and check digits, of an encoded text that it reads.
//!
//! **Invariant:** linear in the text, whatever stands in it.

mod accounts;
mod encoding;
mod national;

use serde::{Deserialize, Serialize};

/// A structure that a match must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Letters and digits both: a key rather than a word or a number.
    LettersAndDigits,
    /// Base64 or hexadecimal digits of a text that reads as words.
    ReadableEncoding,
    /// ISO 13616: the country's length, remainder 1 on division by 97.
    Iban,
    /// ISO/IEC 7812: an issuer's first digits and length, Luhn.
    PaymentCard,
    /// Social security number of the United States: it has no check digit, so only numbers that were
    /// never given out fail.
    UsSsn,
    /// German Steuer-ID: one digit two or three times among the first ten, ISO 7064 MOD 11,10.
    DeTaxId,
    /// Spanish DNI and NIE: the letter is the number's remainder by 23.
    EsDni,
    /// French NIR: sex, month, key of 97.
    FrNir,
    /// Italian codice fiscale: structure and check letter.
    ItFiscalCode,
    /// Dutch BSN: the eleven test.
    NlBsn,
    /// Polish PESEL: month, day and check digit.
    PlPesel,
    /// Brazilian CPF: two check digits, not all digits alike.
    BrCpf,
}

impl Check {
    /// Whether any run of whole groups within `matched` has the structure. A group is letters and
    /// digits; what stands between two groups does not count, so `DE89 3704…` and `DE89-3704…` are one.
    pub(super) fn holds(self, matched: &str) -> bool {
        if self == Self::LettersAndDigits {
            return matched.chars().any(|c| c.is_ascii_digit())
                && matched.chars().any(|c| c.is_ascii_alphabetic());
        }
        if self == Self::ReadableEncoding {
            return encoding::is_readable(matched);
        }
        let groups: Vec<String> = matched
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|group| !group.is_empty())
            .map(str::to_ascii_uppercase)
            .collect();
        (0..groups.len()).any(|at| self.holds_from(&groups[at..]))
    }

    fn holds_from(self, groups: &[String]) -> bool {
        let longest = self.longest();
        let mut run = String::with_capacity(longest);
        for group in groups {
            if run.len() + group.len() > longest {
                return false;
            }
            run.push_str(group);
            if self.is_one(run.as_bytes()) {
                return true;
            }
        }
        false
    }

    /// Letters and digits of the longest number of this kind. Nothing longer is put together.
    const fn longest(self) -> usize {
        match self {
            Self::LettersAndDigits | Self::ReadableEncoding => 0,
            Self::Iban => 34,
            Self::PaymentCard => 19,
            Self::ItFiscalCode => 16,
            Self::FrNir => 15,
            Self::DeTaxId | Self::PlPesel | Self::BrCpf => 11,
            Self::UsSsn | Self::EsDni | Self::NlBsn => 9,
        }
    }

    /// `number`: ASCII digits and capital letters.
    fn is_one(self, number: &[u8]) -> bool {
        match self {
            Self::LettersAndDigits | Self::ReadableEncoding => false,
            Self::Iban => accounts::is_iban(number),
            Self::PaymentCard => accounts::is_payment_card(number),
            Self::UsSsn => national::is_us_ssn(number),
            Self::DeTaxId => national::is_de_tax_id(number),
            Self::EsDni => national::is_es_dni(number),
            Self::FrNir => national::is_fr_nir(number),
            Self::ItFiscalCode => national::is_it_fiscal_code(number),
            Self::NlBsn => national::is_nl_bsn(number),
            Self::PlPesel => national::is_pl_pesel(number),
            Self::BrCpf => national::is_br_cpf(number),
        }
    }
}

/// The digits as values, or `None` where anything else stands.
fn digits(number: &[u8]) -> Option<Vec<u32>> {
    let value = |byte: &u8| byte.is_ascii_digit().then(|| u32::from(byte - b'0'));
    number.iter().map(value).collect()
}

/// As one number: remainder of `digits` by `modulus`.
fn remainder(digits: impl IntoIterator<Item = u32>, modulus: u32) -> u32 {
    digits.into_iter().fold(0, |rest, digit| (rest * 10 + digit) % modulus)
}

#[cfg(test)]
mod tests;
