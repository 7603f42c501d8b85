//! Numbers that money moves by.

use super::{digits, remainder};

/// Length of an IBAN by country, from the registry of SWIFT.
const IBAN_LENGTHS: &str = "\
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 \
    DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 \
    HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 \
    MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 \
    RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 \
    VA22 VG24 XK20 YE30";

pub(super) fn is_iban(number: &[u8]) -> bool {
    let Some((head, rest)) = number.split_first_chunk::<4>() else { return false };
    if iban_length(head) != Some(number.len()) || !head[2..].iter().all(u8::is_ascii_digit) {
        return false;
    }
    // Country and check digits go last; a letter stands for two digits, A for 10.
    let turned = rest.iter().chain(head);
    let values = turned.flat_map(|byte| match byte {
        b'0'..=b'9' => vec![u32::from(byte - b'0')],
        letter => {
            let value = u32::from(letter - b'A') + 10;
            vec![value / 10, value % 10]
        }
    });
    remainder(values, 97) == 1
}

fn iban_length(head: &[u8; 4]) -> Option<usize> {
    let of_country = |entry: &&str| entry.as_bytes().starts_with(&head[..2]);
    let entry = IBAN_LENGTHS.split_ascii_whitespace().find(of_country)?;
    entry[2..].parse().ok()
}

pub(super) fn is_payment_card(number: &[u8]) -> bool {
    let Some(digits) = digits(number) else { return false };
    is_issued(&digits) && luhn(&digits)
}

/// First digits and lengths of the large schemes.
fn is_issued(digits: &[u32]) -> bool {
    let Some(first) = digits.first_chunk::<4>() else { return false };
    let four = first.iter().fold(0, |number, digit| number * 10 + digit);
    let lengths: &[usize] = match four {
        4000..=4999 => &[13, 16, 19],
        5100..=5599 | 2221..=2720 => &[16],
        3400..=3499 | 3700..=3799 => &[15],
        6011 | 6440..=6599 | 3528..=3589 | 6200..=6299 => &[16, 17, 18, 19],
        3000..=3059 | 3600..=3699 | 3800..=3999 => &[14, 16],
        _ => &[],
    };
    lengths.contains(&digits.len())
}

/// Every second digit from the right counts double, its own digits added.
fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| if at % 2 == 0 { *digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    sum.is_multiple_of(10)
}
