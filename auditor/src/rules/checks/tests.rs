//! Numbers of each kind that python-stdnum 2.1 takes or refuses, and what no number is.

use proptest::prelude::*;

use super::Check::{self, *};

/// Kind, numbers, and what is none.
const KNOWN: [(Check, &[&str], &[&str]); 10] = [
    (
        Iban,
        &[
            "DE89370400440532013000",
            "GB82WEST12345698765432",
            "FR1420041010050500013M02606",
            "NO9386011117947",
            "BE71096123456769",
            "MT84MALT011000012345MTLCAST001S",
        ],
        &["DE89370400440532013001", "DE8937040044053201300", "XX89370400440532013000", "DEXX37"],
    ),
    (
        PaymentCard,
        &[
            "4111111111111111",
            "5500005555555559",
            "340000000000009",
            "6011000000000004",
            "30569309025904",
            "3530111333300000",
            "2223003122003222",
            "4222222222222",
        ],
        &["4111111111111112", "1111111111111117", "411111111111116", "0000000000000000"],
    ),
    (
        UsSsn,
        &["536904399"],
        &["000123456", "666123456", "912345678", "123004567", "123450000", "078051120"],
    ),
    (
        DeTaxId,
        &["36574261809", "86095742719", "47036892816", "65929970489"],
        &["36574261808", "01234567899", "11111111111"],
    ),
    (
        EsDni,
        &["54362315K", "12345678Z", "X2482300W", "X1234567L", "Z8078221M"],
        &["54362315Z", "X2482300A", "W2482300W", "123456780"],
    ),
    (
        FrNir,
        &["295109912611193", "255081416802538", "253072B07300470"],
        &["253072C07300443", "295109912611199", "395109912611193", "295009912611193"],
    ),
    (
        ItFiscalCode,
        &["RCCMNL83S18D969H", "RSSMRA85T10A562S"],
        &["RCCMNL83S18D967H", "RSSMRA85T10A562T", "1SSMRA85T10A562S"],
    ),
    (NlBsn, &["111222333", "123456782"], &["111252333", "000000000"]),
    (PlPesel, &["44051401359", "02070803628"], &["44051401358", "44132401359"]),
    (BrCpf, &["39053344705", "52998224725", "11144477735"], &["39053344704", "11111111111"]),
];

#[test]
fn each_kind_takes_its_own_numbers_and_refuses_what_is_close() {
    for (check, numbers, others) in KNOWN {
        for number in numbers {
            assert!(check.holds(number), "{check:?} {number}");
            assert!(check.holds(&number.to_lowercase()), "{check:?} {number} in lower case");
        }
        for other in others {
            assert!(!check.holds(other), "{check:?} {other}");
        }
    }
}

#[test]
fn separators_and_neighbours_do_not_hide_a_number() {
    for hidden in ["4111 1111 1111 1111", "12 4111-1111-1111-1111 2031", "4111-111111111111"] {
        assert!(PaymentCard.holds(hidden), "{hidden}");
    }
    assert!(Iban.holds("ab12 zzzz de89 3704 0044 0532 0130 00 and more"));
    assert!(Iban.holds("be71 0961 2345 6769 from"));
    // A part of a longer number is not that number.
    assert!(!PaymentCard.holds("99994111111111111111"));
    assert!(!PaymentCard.holds("1750 1840 1900 2001"));
}

#[test]
fn a_key_has_letters_and_digits() {
    assert!(LettersAndDigits.holds("a1"));
    assert!(!LettersAndDigits.holds("word") && !LettersAndDigits.holds("123"));
}

/// `number` with one character replaced by another of its kind.
fn with_one_changed(number: &str, at: usize, by: u8) -> String {
    let mut bytes = number.as_bytes().to_vec();
    let at = at % bytes.len();
    let (base, size) = if bytes[at].is_ascii_digit() { (b'0', 10) } else { (b'A', 26) };
    bytes[at] = base + (bytes[at] - base + 1 + by % (size - 1)) % size;
    String::from_utf8(bytes).unwrap()
}

proptest! {
    /// What the check digits of these kinds promise.
    #[test]
    fn one_changed_digit_is_noticed(at in 0..40_usize, by in 0..=255_u8) {
        for (check, numbers, _) in KNOWN {
            if matches!(check, UsSsn | ItFiscalCode | LettersAndDigits | FrNir | PlPesel | BrCpf) {
                continue;
            }
            for number in numbers {
                let changed = with_one_changed(number, at, by);
                prop_assert!(!check.holds(&changed), "{check:?} {number} {changed}");
            }
        }
    }

    #[test]
    fn no_text_stops_a_check(text in "[0-9A-Za-z .\\-€١é]{0,300}") {
        for (check, ..) in KNOWN {
            check.holds(&text);
        }
        LettersAndDigits.holds(&text);
    }
}
