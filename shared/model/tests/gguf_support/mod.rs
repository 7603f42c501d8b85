//! A writer of sound GGUF files, and ways to spoil them.

// Each test binary uses its part.
#![allow(dead_code)]

use std::fs;
use std::path::Path;

/// A value of the metadata.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    U32(u32),
    F32(f32),
    Text(&'static str),
    Bytes(Vec<u8>),
    Raw(u32, Vec<u8>),
    Texts(&'static [&'static str]),
    Ints(Vec<i32>),
    Floats(Vec<f32>),
    /// A list of a type and a length, and nothing of it.
    Claim(u32, u64),
    /// A text of a length, and nothing of it.
    ClaimText(u64),
}

#[derive(Clone, Debug)]
struct Tensor {
    name: String,
    /// Row length first, as the file has it.
    dims: Vec<u64>,
    kind: u32,
    data: Vec<u8>,
    offset: Option<u64>,
}

/// A file in the making.
#[derive(Clone, Debug)]
pub(crate) struct Gguf {
    version: u32,
    keys: Vec<(String, Item)>,
    tensors: Vec<Tensor>,
    tensor_count: Option<u64>,
    key_count: Option<u64>,
    cut: usize,
    trail: usize,
}

/// A Llama of one layer, without a tokenizer.
pub(crate) fn sound() -> Gguf {
    llama(32, 40)
}

/// The same, so wide and with so many tokens.
pub(crate) fn llama(width: u32, words: u64) -> Gguf {
    let sizes = [
        ("llama.context_length", 16),
        ("llama.embedding_length", width),
        ("llama.block_count", 1),
        ("llama.feed_forward_length", width),
        ("llama.attention.head_count", 4),
        ("llama.attention.head_count_kv", 4),
    ];
    let mut keys = vec![("general.architecture".to_owned(), Item::Text("llama"))];
    keys.extend(sizes.map(|(key, size)| (key.to_owned(), Item::U32(size))));
    let epsilon = "llama.attention.layer_norm_rms_epsilon".to_owned();
    keys.push((epsilon, Item::F32(1e-5)));
    let layout = "llama.tensor_data_layout".to_owned();
    keys.push((layout, Item::Text("Meta AI original pth")));
    let width = u64::from(width);
    let square = |name: &'static str| (name, vec![width, width]);
    let shapes = [
        ("token_embd.weight", vec![width, words]),
        ("output.weight", vec![width, words]),
        ("output_norm.weight", vec![width]),
        ("blk.0.attn_norm.weight", vec![width]),
        ("blk.0.ffn_norm.weight", vec![width]),
        square("blk.0.attn_q.weight"),
        square("blk.0.attn_k.weight"),
        square("blk.0.attn_v.weight"),
        square("blk.0.attn_output.weight"),
        square("blk.0.ffn_gate.weight"),
        square("blk.0.ffn_up.weight"),
        square("blk.0.ffn_down.weight"),
    ];
    let tensor = |(name, dims): (&str, Vec<u64>)| {
        let numbers: u64 = dims.iter().product();
        let data = (0..numbers).flat_map(|i| ((i % 7) as f32 * 0.1).to_le_bytes()).collect();
        Tensor { name: name.to_owned(), dims, kind: 0, data, offset: None }
    };
    Gguf {
        version: 3,
        keys,
        tensors: shapes.into_iter().map(tensor).collect(),
        tensor_count: None,
        key_count: None,
        cut: 0,
        trail: 0,
    }
}

impl Gguf {
    pub(crate) fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    pub(crate) fn claim_tensors(mut self, count: u64) -> Self {
        self.tensor_count = Some(count);
        self
    }

    pub(crate) fn claim_keys(mut self, count: u64) -> Self {
        self.key_count = Some(count);
        self
    }

    /// Sets a key: one that is there keeps its place, unless it was added here before.
    pub(crate) fn key(mut self, key: &str, item: Item) -> Self {
        let is_own = |(own, _): &&mut (String, Item)| own == key && key != "general.name";
        match self.keys.iter_mut().find(is_own) {
            Some((_, old)) => *old = item,
            None => self.keys.push((key.to_owned(), item)),
        }
        self
    }

    /// A file of this key and nothing behind it.
    pub(crate) fn only_key(mut self, key: &str, item: Item) -> Self {
        self.keys = vec![(key.to_owned(), item)];
        self.tensor_count = Some(0);
        self.tensors.clear();
        self
    }

    pub(crate) fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(own, _)| own != key);
        self
    }

    pub(crate) fn repeat(mut self, name: &str) -> Self {
        let again = self.tensor(name).clone();
        self.tensors.push(again);
        self
    }

    pub(crate) fn rename(mut self, name: &str, to: &str) -> Self {
        self.tensor(name).name = to.to_owned();
        self
    }

    pub(crate) fn dims(mut self, name: &str, dims: Vec<u64>) -> Self {
        self.tensor(name).dims = dims;
        self
    }

    pub(crate) fn kind(mut self, name: &str, kind: u32) -> Self {
        self.tensor(name).kind = kind;
        self
    }

    /// Puts the keys below another architecture.
    pub(crate) fn architecture(mut self, name: &'static str) -> Self {
        for (key, _) in &mut self.keys {
            if let Some(below) = key.strip_prefix("llama.") {
                *key = format!("{name}.{below}");
            }
        }
        self.key("general.architecture", Item::Text(name))
    }

    /// Adds a tensor of one dimension.
    pub(crate) fn row(mut self, name: &str, numbers: &[f32]) -> Self {
        let data = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let (name, dims) = (name.to_owned(), vec![numbers.len() as u64]);
        self.tensors.push(Tensor { name, dims, kind: 0, data, offset: None });
        self
    }

    /// Stores every matrix in blocks of 32 numbers, all zero.
    pub(crate) fn in_blocks(mut self, kind: u32, block_bytes: usize) -> Self {
        for tensor in self.tensors.iter_mut().filter(|tensor| tensor.dims.len() == 2) {
            tensor.data = vec![0; tensor.data.len() / 4 / 32 * block_bytes];
            tensor.kind = kind;
        }
        self
    }

    pub(crate) fn offset(mut self, name: &str, offset: u64) -> Self {
        self.tensor(name).offset = Some(offset);
        self
    }

    pub(crate) fn plant(mut self, name: &str, number: f32) -> Self {
        self.tensor(name).data[..4].copy_from_slice(&number.to_le_bytes());
        self
    }

    /// Leaves so many bytes of the end away.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.cut = bytes;
        self
    }

    /// Adds so many bytes at the end.
    pub(crate) fn trail(mut self, bytes: usize) -> Self {
        self.trail = bytes;
        self
    }

    fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }

    /// Length of the header, without the padding behind it.
    pub(crate) fn header_bytes(&self) -> usize {
        self.header().len()
    }

    fn header(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        let count = self.tensor_count.unwrap_or(self.tensors.len() as u64);
        bytes.extend(count.to_le_bytes());
        bytes.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for (key, item) in &self.keys {
            text(&mut bytes, key.as_bytes());
            write(&mut bytes, item);
        }
        let mut next = 0u64;
        for tensor in &self.tensors {
            text(&mut bytes, tensor.name.as_bytes());
            bytes.extend(u32::try_from(tensor.dims.len()).unwrap().to_le_bytes());
            tensor.dims.iter().for_each(|dim| bytes.extend(dim.to_le_bytes()));
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend(tensor.offset.unwrap_or(next).to_le_bytes());
            next = (next + tensor.data.len() as u64).next_multiple_of(32);
        }
        bytes
    }

    pub(crate) fn write(self, path: &Path) {
        fs::write(path, self.bytes()).unwrap();
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = self.header();
        for tensor in &self.tensors {
            bytes.resize(bytes.len().next_multiple_of(32), 0);
            bytes.extend(&tensor.data);
        }
        bytes.truncate(bytes.len() - self.cut);
        bytes.resize(bytes.len() + self.trail, 0);
        bytes
    }
}

fn text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text);
}

/// The head of a list.
fn list(bytes: &mut Vec<u8>, kind: u32, length: u64) {
    bytes.extend(9u32.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(length.to_le_bytes());
}

fn write(bytes: &mut Vec<u8>, item: &Item) {
    let mut raw = |kind: u32, value: &[u8]| {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
    };
    match item {
        Item::U32(value) => raw(4, &value.to_le_bytes()),
        Item::F32(value) => raw(6, &value.to_le_bytes()),
        Item::Raw(kind, value) => raw(*kind, value),
        Item::Claim(kind, length) => list(bytes, *kind, *length),
        Item::Texts(texts) => {
            list(bytes, 8, texts.len() as u64);
            texts.iter().for_each(|one| text(bytes, one.as_bytes()));
        }
        Item::Ints(ints) => {
            list(bytes, 5, ints.len() as u64);
            ints.iter().for_each(|int| bytes.extend(int.to_le_bytes()));
        }
        Item::Floats(floats) => {
            list(bytes, 6, floats.len() as u64);
            floats.iter().for_each(|float| bytes.extend(float.to_le_bytes()));
        }
        Item::ClaimText(length) => raw(8, &length.to_le_bytes()),
        Item::Text(value) => {
            raw(8, &[]);
            text(bytes, value.as_bytes());
        }
        Item::Bytes(value) => {
            raw(8, &[]);
            text(bytes, value);
        }
    }
}
