use super::*;
use serde_json::json;

#[test]
fn every_byte_has_one_symbol() {
    let symbols = (0..0x200u32).filter_map(char::from_u32);
    let mut bytes: Vec<u8> = symbols.filter_map(byte_of).collect();
    bytes.sort_unstable();
    assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
    assert_eq!((byte_of('Ġ'), byte_of('Ċ'), byte_of('a')), (Some(b' '), Some(b'\n'), Some(b'a')));
}

#[test]
fn the_decoder_says_how_tokens_are_spelled() {
    let llama2 = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]});
    assert_eq!(Spelling::of(&llama2), Some(Spelling::Fallback { space: '▁' }));
    assert_eq!(Spelling::of(&json!({"type": "ByteLevel"})), Some(Spelling::ByteLevel));
    let nested = json!({"type": "Sequence", "decoders": [{"type": "ByteLevel"}]});
    assert_eq!(Spelling::of(&nested), Some(Spelling::ByteLevel));
    assert_eq!(Spelling::of(&json!({"type": "WordPiece"})), None);
    assert_eq!(Spelling::of(&json!({"type": "Sequence", "decoders": []})), None);
    assert_eq!(Spelling::of(&Value::Null), None);
}

#[test]
fn a_byte_of_its_own_gives_way_to_the_ordinary_token() {
    let mut words: Vec<Vec<u8>> =
        [&b"A"[..], b"", b"A", b"\xff", b"\xffx", b"A"].map(<[u8]>::to_vec).to_vec();
    leave_out_doubles(&mut words, &[0]);
    assert_eq!(words, [&b""[..], b"", b"A", b"\xff", b"", b""].map(<[u8]>::to_vec));
    let spelling = Spelling::Fallback { space: '▁' };
    assert_eq!(spelling.fallback_byte("<0xE9>"), Some(0xe9));
    assert_eq!(spelling.fallback_byte("<0xE>"), None);
    assert_eq!(Spelling::ByteLevel.fallback_byte("<0xE9>"), None);
    assert_eq!(spelling.bytes("▁a▁"), b" a ");
}
