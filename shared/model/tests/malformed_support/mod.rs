//! Sound folders, and ways to spoil them.

use candle_core::Device;
use rustix::fs::{Mode, mkfifoat};
use seal_model::{Adapter, BaseModel, Decoder, DecoderConfig, LoraSpec, Projection};
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Digest of the base that the sound adapter names.
pub(crate) const DIGEST: [u8; 32] = [7; 32];

pub(crate) fn shape() -> DecoderConfig {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": 20, "hidden_size": 8,
        "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 16, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": true,
    });
    DecoderConfig::parse(config.to_string().as_bytes(), Path::new("config.json")).unwrap()
}

/// A sound model folder.
pub(crate) fn model(folder: &Path) {
    Decoder::init(&shape(), 1, &Device::Cpu).unwrap().save(folder).unwrap();
}

/// A sound adapter folder.
pub(crate) fn adapter(folder: &Path) {
    adapter_over(folder, &DIGEST);
}

pub(crate) fn adapter_over(folder: &Path, digest: &[u8; 32]) {
    let spec = LoraSpec { targets: vec![Projection::Q, Projection::Down], ..LoraSpec::all(2) };
    let adapter = Adapter::init(&shape(), &spec, 1).unwrap();
    adapter.save_peft(folder, BaseModel { name: "base", revision: None, digest }).unwrap();
}

pub(crate) fn empty(folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
}

/// Sets a field of a model's config.
pub(crate) fn config(folder: &Path, field: &str, value: Value) {
    set(&folder.join("config.json"), field, value);
}

/// Sets a field of an adapter's config.
pub(crate) fn setting(folder: &Path, field: &str, value: Value) {
    set(&folder.join("adapter_config.json"), field, value);
}

fn set(path: &Path, field: &str, value: Value) {
    let mut json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    json[field] = value;
    fs::write(path, json.to_string()).unwrap();
}

/// A file of so many bytes that takes no disk.
pub(crate) fn sparse(path: &Path, bytes: u64) {
    File::create(path).unwrap().set_len(bytes).unwrap();
}

/// A pipe that nobody writes to, in the place of a file.
pub(crate) fn pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    mkfifoat(rustix::fs::CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

pub(crate) fn link(path: &Path, target: &str) {
    fs::remove_file(path).unwrap();
    std::os::unix::fs::symlink(target, path).unwrap();
}

/// Cuts the model into `a.safetensors` (the norm) and `b.safetensors` (the rest), and lets `spoil`
/// change the map and the folder.
pub(crate) fn shard(folder: &Path, spoil: impl FnOnce(&mut Value, &Path)) {
    let whole = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu);
    let (first, rest): (Vec<_>, Vec<_>) =
        whole.unwrap().into_iter().partition(|(name, _)| name == "model.norm.weight");
    let mut map = json!({});
    for (shard, tensors) in [("a.safetensors", first), ("b.safetensors", rest)] {
        let tensors: std::collections::HashMap<_, _> = tensors.into_iter().collect();
        tensors.keys().for_each(|name| map[name] = json!(shard));
        candle_core::safetensors::save(&tensors, folder.join(shard)).unwrap();
    }
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    let index = |map: &Value| json!({"weight_map": map}).to_string();
    let path = folder.join("model.safetensors.index.json");
    fs::write(&path, index(&map)).unwrap();
    Decoder::load(folder, &Device::Cpu).expect("shards are sound before they are spoilt");
    spoil(&mut map, folder);
    fs::write(&path, index(&map)).unwrap();
}

/// A safetensors file in pieces.
pub(crate) struct Tampered {
    path: PathBuf,
    /// Name and entry, in file order.
    entries: Vec<(String, Value)>,
    data: Vec<u8>,
    claim: Option<u64>,
    /// Length of the whole file, if it is not its parts'.
    length: Option<u64>,
}

impl Tampered {
    pub(crate) fn read(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        let bytes = fs::read(&path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let mut entries: Vec<_> = header.into_iter().collect();
        entries.sort_by_key(|(_, entry)| entry["data_offsets"][0].as_u64());
        Self { path, entries, data: bytes[8 + length..].to_vec(), claim: None, length: None }
    }

    fn entry(&mut self, name: &str) -> &mut Value {
        &mut self.entries.iter_mut().find(|(own, _)| own == name).unwrap().1
    }

    /// Lets the file claim another length of its header.
    pub(crate) fn claim(mut self, bytes: u64) -> Self {
        self.claim = Some(bytes);
        self
    }

    /// Makes one tensor the only one, so many bytes long, in a file that takes no disk.
    pub(crate) fn huge(mut self, name: &str, bytes: u64) -> Self {
        let entry = json!({"dtype": "F32", "shape": [1, bytes / 4], "data_offsets": [0, bytes]});
        *self.entry(name) = entry;
        let offset = |entry: &mut Value| {
            if entry["data_offsets"][1] != json!(bytes) && entry.get("shape").is_some() {
                *entry = json!({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]});
            }
        };
        self.entries.iter_mut().for_each(|(_, entry)| offset(entry));
        self.data.clear();
        self.length = Some(8 + self.header().len() as u64 + bytes);
        self
    }

    /// Adds so many empty tensors.
    pub(crate) fn many(mut self, count: usize) -> Self {
        let empty = json!({"dtype": "U8", "shape": [0], "data_offsets": [0, 0]});
        self.entries.extend((0..count).map(|i| (format!("t{i}"), empty.clone())));
        self
    }

    pub(crate) fn name(mut self, name: &str, new: &str) -> Self {
        let entry = self.entries.iter_mut().find(|(own, _)| own == name).unwrap();
        entry.0 = new.to_owned();
        self
    }

    pub(crate) fn twice(mut self, name: &str) -> Self {
        let entry = self.entry(name).clone();
        self.entries.push((name.to_owned(), entry));
        self
    }

    /// Moves a tensor onto its neighbour.
    pub(crate) fn shift(mut self, name: &str) -> Self {
        let offsets = &mut self.entry(name)["data_offsets"];
        let moved = [0, 1].map(|i| offsets[i].as_u64().unwrap() - 4);
        *offsets = json!(moved);
        self
    }

    /// Gives a tensor a dtype of one byte and as many elements as it has bytes.
    pub(crate) fn dtype(mut self, name: &str, dtype: &str) -> Self {
        let entry = self.entry(name);
        entry["dtype"] = json!(dtype);
        let last = entry["shape"].as_array().unwrap().len() - 1;
        let own = entry["shape"][last].as_u64().unwrap();
        entry["shape"][last] = json!(own * 4);
        self
    }

    /// Makes the tensor's first number `x`.
    pub(crate) fn plant(mut self, name: &str, x: f32) -> Self {
        let at = self.entry(name)["data_offsets"][0].as_u64().unwrap() as usize;
        self.data[at..at + 4].copy_from_slice(&x.to_le_bytes());
        self
    }

    /// Takes so many bytes from the end, or adds them.
    pub(crate) fn cut(mut self, bytes: i64) -> Self {
        let length = self.data.len() as i64 - bytes;
        self.data.resize(length as usize, 0);
        self
    }

    /// Removes the tensor that ends the file.
    pub(crate) fn drop_last(mut self) -> Self {
        let (_, entry) = self.entries.pop().unwrap();
        self.data.truncate(entry["data_offsets"][0].as_u64().unwrap() as usize);
        self
    }

    fn header(&self) -> String {
        let entry = |(name, entry): &(String, Value)| format!("{}:{entry}", json!(name));
        format!("{{{}}}", self.entries.iter().map(entry).collect::<Vec<_>>().join(","))
    }

    pub(crate) fn write(self) {
        let header = self.header();
        let claim = self.claim.unwrap_or(header.len() as u64);
        let bytes = [&claim.to_le_bytes()[..], header.as_bytes(), &self.data].concat();
        fs::write(&self.path, bytes).unwrap();
        if let Some(length) = self.length {
            File::options().write(true).open(&self.path).unwrap().set_len(length).unwrap();
        }
    }
}
