//! What is said of files that cannot be read: every message is compared with `fixtures/bad_inputs.txt`, which is to be
//! read by a person whenever it changes. `FEDNODULE_BLESS=1 cargo test` writes it anew.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::ZlibEncoder};
use imaging::metaimage::{Limits, Reader};

const GOOD: &str = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n\
    CompressedData = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = -1 2 3\nElementSpacing = 0.7 0.7 2.5\n\
    DimSize = 4 3 2\nElementType = MET_SHORT\nElementDataFile = LOCAL\n";

struct Case {
    name: &'static str,
    limits: Limits,
    header: String,
    data: Vec<u8>,
    /// Written beside the header under this name.
    beside: Option<&'static str>,
}

fn case(name: &'static str, edits: &[(&str, &str)]) -> Case {
    let mut header = GOOD.to_owned();
    for (old, new) in edits {
        assert!(header.contains(old), "{name}: {old}");
        header = header.replace(old, new);
    }
    Case { name, limits: Limits::local(), header, data: vec![1; 48], beside: None }
}

impl Case {
    fn data(mut self, data: Vec<u8>) -> Self {
        self.data = data;
        self
    }

    fn beside(mut self, name: &'static str) -> Self {
        self.beside = Some(name);
        self
    }

    fn strict(mut self) -> Self {
        self.limits = Limits::strangers();
        self
    }

    fn message(&self) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path: PathBuf = folder.path().join("scan.mhd");
        let mut bytes = self.header.clone().into_bytes();
        match self.beside {
            Some(name) => std::fs::write(folder.path().join(name), &self.data).expect("a data file"),
            None => bytes.extend(&self.data),
        }
        std::fs::write(&path, bytes).expect("a header");
        let error = match Reader::open(&path, &self.limits).and_then(Reader::read_hu) {
            Ok((volume, _)) => panic!("{} was read: {volume:?}", self.name),
            Err(error) => error,
        };
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            write!(text, ": {error}").expect("a string");
            cause = error.source();
        }
        text.replace(&folder.path().join("").display().to_string(), "")
    }
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn compressed(name: &'static str, size: &str, data: Vec<u8>) -> Case {
    let claim = format!("CompressedData = True\n{size}");
    case(name, &[("CompressedData = False\n", claim.as_str())]).data(data)
}

fn doubles(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn cases() -> Vec<Case> {
    let whole = zlib(&[1; 48]);
    let mut torn = whole.clone();
    torn[3] ^= 0xff;
    let mut nan = vec![0.0; 24];
    (nan[7], nan[23]) = (f64::NAN, f64::INFINITY);
    let local = "ElementDataFile = LOCAL";
    vec![
        Case { header: String::new(), ..case("empty file", &[]).data(Vec::new()) },
        Case { header: String::new(), ..case("a PNG picture", &[]).data(b"\x89PNG\r\n\x1a\n....".to_vec()) },
        Case { header: "Key = value\n".repeat(9000), ..case("endless header", &[]) },
        case("line without separator", &[("Offset", "Fine line\nOffset")]),
        case("key in wrong case", &[("NDims", "ndims")]),
        case("no DimSize", &[("DimSize = 4 3 2\n", "")]),
        case("no ElementType", &[("ElementType = MET_SHORT\n", "")]),
        case("not an image", &[("= Image", "= Tube")]),
        case("four dimensions", &[("NDims = 3", "NDims = 4")]),
        case("colour", &[("DimSize", "ElementNumberOfChannels = 3\nDimSize")]),
        case("voxels as text", &[("BinaryData = True", "BinaryData = False")]),
        case("flag that is none", &[("CompressedData = False", "CompressedData = maybe")]),
        case("unknown type", &[("MET_SHORT", "MET_SHORT_ARRAY")]),
        case("two numbers in DimSize", &[("4 3 2", "4 3")]),
        case("word in DimSize", &[("4 3 2", "4 3 two")]),
        case("zero in DimSize", &[("4 3 2", "4 0 2")]),
        case("negative DimSize", &[("4 3 2", "4 -3 2")]),
        case("more voxels than numbers", &[("4 3 2", "18446744073709551615 2 2")]),
        case("a petabyte", &[("4 3 2", "65536 65536 65536")]),
        case("spacing of zero", &[("0.7 0.7 2.5", "0.7 0 2.5")]),
        case("spacing not a number", &[("0.7 0.7 2.5", "0.7 nan 2.5")]),
        case("origin at infinity", &[("-1 2 3", "-1 2 inf")]),
        case("stretched direction", &[("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0 1.1")]),
        case("flat direction", &[("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0 0")]),
        case("contradicting lines", &[("Offset", "DimSize = 1 1 1\nOffset")]),
        case("contradicting names", &[("Offset", "Position = 0 0 0\nOffset")]),
        case("list of files", &[(local, "ElementDataFile = LIST\n1.raw\n2.raw")]),
        case("pattern of files", &[(local, "ElementDataFile = slice%03d.raw 1 2 1")]),
        case("missing data file", &[(local, "ElementDataFile = other.raw")]),
        case("short data", &[]).data(vec![1; 47]),
        case("long data", &[]).data(vec![1; 50]),
        case("short data file", &[(local, "ElementDataFile = a.raw")]).data(vec![1; 10]).beside("a.raw"),
        case("header size beyond the file", &[("DimSize", "HeaderSize = 9999\nDimSize")]),
        case("header size below -1", &[("DimSize", "HeaderSize = -2\nDimSize")]),
        compressed("header size -1 of compressed data", "HeaderSize = -1\n", whole.clone()),
        compressed("damaged compression", "", torn),
        compressed("gzip instead of zlib", "", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03nonsense".to_vec()),
        compressed("torn compression", "", whole[..whole.len() - 6].to_vec()),
        compressed("too little in the compression", "", zlib(&[1; 46])),
        compressed("too much in the compression", "", zlib(&[1; 52])),
        compressed("far too much in the compression", "", zlib(&vec![0; 3 << 20])),
        compressed("bytes after the compression", "", [whole.clone(), vec![0; 3]].concat()),
        compressed("shorter than CompressedDataSize", "CompressedDataSize = 999\n", whole.clone()),
        Case {
            header: compressed("", "", Vec::new()).header.replace("4 3 2", "4000 4000 4000"),
            ..compressed("more than compression can hold", "", whole)
        },
        case("not finite", &[("MET_SHORT", "MET_DOUBLE")]).data(doubles(&nan)),
        case("stranger: key twice", &[("NDims = 3", "NDims = 3\nNDims = 3")]).strict(),
        case("stranger: long dimension", &[("4 3 2", "4 3 4097")]).strict(),
        case("stranger: many voxels", &[("4 3 2", "4096 4096 4096")]).strict(),
        case("stranger: no spacing", &[("ElementSpacing = 0.7 0.7 2.5\n", "")]).strict(),
        case("stranger: tiny spacing", &[("0.7 0.7 2.5", "0.7 0.7 0.001")]).strict(),
        case("stranger: negative spacing", &[("0.7 0.7 2.5", "0.7 0.7 -2.5")]).strict(),
        case("stranger: data in folder", &[(local, "ElementDataFile = ../a.raw")]).strict(),
        case("stranger: data on drive", &[(local, "ElementDataFile = C:a.raw")]).strict(),
        case("stranger: data in Windows folder", &[(local, "ElementDataFile = b\\a.raw")]).strict(),
        case("stranger: data is the folder above", &[(local, "ElementDataFile = ..")]).strict(),
        case("stranger: data from the web", &[(local, "ElementDataFile = http://x/a.raw")]).strict(),
        case("stranger: name with NUL", &[(local, "ElementDataFile = a\0.raw")]).strict(),
        case("stranger: open length", &[("DimSize", "HeaderSize = -1\nDimSize")]).strict(),
    ]
}

#[test]
fn messages_say_what_was_found_and_what_was_expected() {
    let mut found = String::new();
    for case in cases() {
        writeln!(found, "{}\n    {}", case.name, case.message()).expect("a string");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bad_inputs.txt");
    if std::env::var_os("FEDNODULE_BLESS").is_some() {
        std::fs::write(&path, &found).expect("the fixture");
    }
    let expected = std::fs::read_to_string(&path).expect("the fixture");
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.lines().count(), expected.lines().count());
}

#[test]
fn the_good_header_is_good() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("scan.mha");
    std::fs::write(&path, [GOOD.as_bytes(), &[1; 48]].concat()).expect("a file");
    let (volume, saturated) = Reader::open(&path, &Limits::strangers()).and_then(Reader::read_hu).expect("a volume");
    assert_eq!((volume.voxels(), saturated), ([0x0101; 24].as_slice(), 0));
}

/// Beyond 2 GiB: the voxels before are holes in the file and cost neither disk nor memory.
#[test]
fn a_file_of_more_than_two_gibibytes_is_read_in_pieces() {
    use std::io::{Seek, SeekFrom};
    const SHAPE: [u64; 3] = [264, 1024, 1024];
    let voxels = SHAPE.iter().product::<u64>();
    assert!(voxels * 8 > 1 << 31);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("large.mhd");
    let header =
        GOOD.replace("MET_SHORT", "MET_DOUBLE").replace("4 3 2", "1024 1024 264").replace("LOCAL", "large.raw");
    std::fs::write(&path, header).expect("a header");
    let mut data = std::fs::File::create(folder.path().join("large.raw")).expect("a data file");
    data.set_len(voxels * 8).expect("a sparse file");
    let marked = [(1 << 28) + 5, voxels - 1];
    for (at, value) in marked.into_iter().zip([-1000.9, 40_000.0]) {
        data.seek(SeekFrom::Start(at * 8)).expect("a place");
        data.write_all(&f64::to_le_bytes(value)).expect("a voxel");
    }
    drop(data);
    let (mut at, mut found) = (0, Vec::new());
    let saturated = Reader::open(&path, &Limits::local())
        .expect("a readable file")
        .for_each_hu(|piece| {
            found.extend((at..).zip(piece).filter(|(_, hu)| **hu != 0).map(|(at, &hu)| (at, hu)));
            at += piece.len() as u64;
        })
        .expect("readable voxels");
    assert_eq!(at, voxels);
    assert_eq!(found, [(marked[0], -1000), (marked[1], i16::MAX)]);
    assert_eq!(saturated, 1);
}
