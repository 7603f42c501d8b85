use super::*;

const LIMITS: Limits = Limits { header_bytes: 1 << 16, tensors: 4 };

/// A file of `header` and so many data bytes.
fn file(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

fn read(file: &[u8]) -> Result<Header, HeaderError> {
    crate::folder::header_of_bytes(file, LIMITS).map_err(|refusal| match refusal {
        crate::folder::Refusal::Header(error) => error,
        other => panic!("{other}"),
    })
}

#[track_caller]
fn refused(header: &str, data: usize) -> HeaderError {
    read(&file(header, data)).unwrap_err()
}

const PAIR: &str = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
    "b.c":{"dtype":"BF16","shape":[1,3],"data_offsets":[8,14]},
    "__metadata__":{"format":"pt"}}   "#;

#[test]
fn a_sound_header_says_where_each_tensor_lies() {
    let header = read(&file(PAIR, 14)).unwrap();
    let first = 8 + PAIR.len() as u64;
    let info = |dtype, shape: &[usize], start, bytes| TensorInfo {
        dtype,
        shape: shape.to_vec(),
        start,
        bytes,
    };
    assert_eq!(header.tensors["a"], info(Dtype::F32, &[2], first, 8));
    assert_eq!(header.tensors["b.c"], info(Dtype::BF16, &[1, 3], first + 8, 6));
    assert_eq!(header.metadata["format"], "pt");
}

#[test]
fn what_the_safetensors_library_writes_is_read() {
    let view = |bytes| safetensors::tensor::TensorView::new(Dtype::F16, vec![2, 2], bytes).unwrap();
    let bytes = safetensors::serialize([("x", view(&[1; 8])), ("y", view(&[2; 8]))], None).unwrap();
    let header = read(&bytes).unwrap();
    let y = &header.tensors["y"];
    assert_eq!(bytes[y.start as usize..][..y.bytes as usize], [2; 8]);
}

#[test]
fn a_length_that_no_file_has_is_refused_unread() {
    let mut bomb = file(PAIR, 14);
    bomb[..8].copy_from_slice(&100_000_000_000u64.to_le_bytes());
    let error = read(&bomb).unwrap_err();
    assert_eq!(error, HeaderError::TooLong { claimed: 100_000_000_000, max: 1 << 16 });
    let error = read(&file(PAIR, 0)[..40]).unwrap_err();
    assert!(matches!(error, HeaderError::Truncated { found: 40, .. }), "{error}");
    assert_eq!(read(&[0; 7]).unwrap_err(), HeaderError::TooShort(7));
}

#[test]
fn a_file_shorter_or_longer_than_its_tensors_is_refused() {
    let whole = 8 + PAIR.len() as u64 + 14;
    let short = HeaderError::Truncated { expected: whole, found: whole - 1 };
    assert_eq!(refused(PAIR, 13), short);
    assert_eq!(refused(PAIR, 15), HeaderError::Trailing(1));
}

#[test]
fn names_that_stand_twice_or_would_be_paths_are_refused() {
    let named =
        |name: &str| format!(r#""{name}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
    let twice = format!("{{{},{}}}", named("a"), named("a"));
    assert_eq!(refused(&twice, 0), HeaderError::Duplicate("a".into()));
    let metadata = r#"{"__metadata__":{},"__metadata__":{}}"#;
    assert_eq!(refused(metadata, 0), HeaderError::Duplicate("__metadata__".into()));
    for name in ["../../etc/passwd", "a/b", r"a\\b", "a..b", "", "ä", r"a\u001b[2J"] {
        let error = refused(&format!("{{{}}}", named(name)), 0);
        assert!(matches!(error, HeaderError::Name(_)), "{name}: {error}");
        assert!(!error.to_string().contains('\u{1b}'), "{name}");
    }
    let long = named(&"x".repeat(300));
    assert!(refused(&format!("{{{long}}}"), 0).to_string().len() < 200);
}

#[test]
fn more_tensors_than_the_limit_are_refused() {
    let entry = |i| format!(r#""t{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
    let of = |count: usize| format!("{{{}}}", (0..count).map(entry).collect::<Vec<_>>().join(","));
    assert!(read(&file(&of(4), 0)).is_ok());
    assert_eq!(refused(&of(5), 0), HeaderError::TooMany(4));
}

#[test]
fn offsets_that_overlap_leave_gaps_or_disagree_with_the_shape_are_refused() {
    let place = |header: &str, data| match refused(header, data) {
        HeaderError::Place { problem, .. } => problem,
        other => panic!("{other}"),
    };
    let two = |a: &str, b: &str| {
        format!(
            r#"{{"a":{{"dtype":"F32","shape":[1],"data_offsets":{a}}},
                "b":{{"dtype":"F32","shape":[1],"data_offsets":{b}}}}}"#
        )
    };
    assert!(place(&two("[0,4]", "[2,6]"), 6).contains("overlaps"));
    assert!(place(&two("[0,4]", "[0,4]"), 4).contains("overlaps"));
    assert!(place(&two("[0,4]", "[8,12]"), 12).contains("gap"));
    assert!(place(&two("[4,8]", "[8,12]"), 12).contains("gap"));
    assert!(place(&two("[0,8]", "[8,12]"), 12).contains("offsets"));
    assert!(place(&two("[4,0]", "[4,8]"), 8).contains("offsets"));
    let huge = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#;
    assert!(place(huge, 0).contains("no whole number of bytes"));
    let bits = r#"{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,0]}}"#;
    assert!(place(bits, 0).contains("no whole number of bytes"));
}

#[test]
fn json_that_is_no_header_is_refused_with_the_tensor_at_fault() {
    for text in ["", "[1]", "{", "null", r#"{"a":1}"#, "{} {}"] {
        assert!(matches!(refused(text, 0), HeaderError::Json(_)), "{text}");
    }
    let dims = r#"{"model.x":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#;
    let error = refused(dims, 4).to_string();
    assert!(error.contains("model.x") && error.contains("dimensions"), "{error}");
    let dtype = r#"{"model.x":{"dtype":"Q4_K","shape":[1],"data_offsets":[0,4]}}"#;
    assert!(refused(dtype, 4).to_string().contains("Q4_K"));
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
    assert!(matches!(refused(&deep, 0), HeaderError::Json(_)));
}
