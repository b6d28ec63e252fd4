//! Which of the files that somebody chose belong together, and whether they can be a scan: decided from names, lengths and
//! the headers' texts, before any voxel travels.

use std::collections::{BTreeMap, BTreeSet};

use imaging::metaimage::{DataFile, Header, Limits, Problem};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::catalog::Message;
use crate::token::hash;
use crate::token::hex;

/// Most characters of a series UID: DICOM allows 64.
const MAX_UID: usize = 64;
/// zlib makes incompressible data a little longer.
const ZLIB_OVERHEAD: u64 = 1 << 20;

/// A file that somebody chose.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(rename = "ChosenFile")]
#[serde(deny_unknown_fields)]
pub(crate) struct Offered {
    /// With the folders in which it was chosen, `/` between them.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// The text of a `.mhd`, and of a `.mha` the part before the voxels.
    pub(crate) header: Option<String>,
}

/// Files that can be a scan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pair {
    /// The header's file without its ending.
    pub(crate) series_uid: String,
    pub(crate) header: Header,
    pub(crate) header_sha256: String,
    /// The same as the header's where one file holds everything.
    pub(crate) data_path: String,
    pub(crate) data_bytes: u64,
}

/// What becomes of a header that was chosen.
pub(crate) struct Paired {
    pub(crate) path: String,
    pub(crate) result: Result<Pair, Message>,
}

/// What becomes of the rest: why it is left out.
pub(crate) struct Left {
    pub(crate) path: String,
    pub(crate) reason: Message,
}

/// Pairs headers with their data.
pub(crate) fn pair(files: &[Offered]) -> (Vec<Paired>, Vec<Left>) {
    let by_path: BTreeMap<&str, &Offered> = files.iter().map(|file| (file.path.as_str(), file)).collect();
    let (mut taken, mut uids) = (BTreeSet::new(), BTreeSet::new());
    let mut paired = Vec::new();
    for file in by_path.values().filter(|file| is_header(&file.path)) {
        let mut result = scan(file, &by_path);
        if let Ok(found) = &result
            && !uids.insert(found.series_uid.clone())
        {
            result = Err(Message::PairTwice { series: found.series_uid.clone() });
        }
        // Also that of a header which is refused: its own reason is told already.
        taken.extend(data_of(file, &by_path).map(|data| data.path.clone()));
        paired.push(Paired { path: file.path.clone(), result });
    }
    let rest = by_path.values().filter(|file| !is_header(&file.path) && !taken.contains(&file.path));
    let left = rest.map(|file| Left { path: file.path.clone(), reason: why_left(&file.path) }).collect();
    (paired, left)
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name))
}

fn ending(path: &str) -> String {
    let (_, name) = split(path);
    name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default()
}

fn is_header(path: &str) -> bool {
    matches!(ending(path).as_str(), "mhd" | "mha")
}

fn why_left(path: &str) -> Message {
    let (_, name) = split(path);
    match ending(path).as_str() {
        "raw" | "zraw" => {
            let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
            Message::PairNoHeader { wanted: format!("{stem}.mhd") }
        }
        "csv" => Message::PairTable,
        "dcm" | "dicom" | "" => Message::PairDicom,
        _ => Message::PairOther,
    }
}

/// The file with the voxels that a header names, beside it. Copies between systems change capital letters.
fn data_of<'a>(file: &'a Offered, by_path: &BTreeMap<&str, &'a Offered>) -> Option<&'a Offered> {
    let text = file.header.as_deref()?;
    let header = Header::parse(text.as_bytes(), &Limits::strangers()).ok()?;
    let DataFile::Named(name) = header.data_file else { return Some(file) };
    let (folder, _) = split(&file.path);
    let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
    by_path.get(path.as_str()).copied().or_else(|| {
        let mut alike = by_path.values().filter(|other| other.path.eq_ignore_ascii_case(&path));
        let first = alike.next().copied();
        first.filter(|_| alike.next().is_none())
    })
}

fn scan(file: &Offered, by_path: &BTreeMap<&str, &Offered>) -> Result<Pair, Message> {
    let text = file.header.as_deref().unwrap_or_default();
    let header = Header::parse(text.as_bytes(), &Limits::strangers()).map_err(|problem| in_words(&problem))?;
    let Some(data) = data_of(file, by_path) else {
        let wanted = match &header.data_file {
            DataFile::Named(name) => name.clone(),
            DataFile::Local => file.path.clone(),
        };
        return Err(Message::PairNoData { wanted });
    };
    let exact = header.data_file_bytes();
    let most = exact.unwrap_or(header.voxel_bytes() + ZLIB_OVERHEAD);
    let fits = match exact {
        Some(expected) => data.bytes == expected,
        None => (1..=most).contains(&data.bytes),
    };
    if !fits {
        let [nz, ny, nx] = header.geometry.shape_zyx;
        let claim = format!("{nx}×{ny}×{nz} {}", header.element_type.name());
        let (found, expected) = (data.bytes.to_string(), most.to_string());
        return Err(match exact {
            Some(_) => Message::PairLength { found, expected, claim },
            None => Message::PairLong { found, expected, claim },
        });
    }
    let (_, name) = split(&file.path);
    let series_uid = name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned();
    if !is_series_uid(&series_uid) {
        return Err(Message::PairName { limit: MAX_UID.to_string() });
    }
    let header_sha256 = hex(&hash("header", text));
    Ok(Pair { series_uid, header, header_sha256, data_path: data.path.clone(), data_bytes: data.bytes })
}

/// Letters and signs of a UID, so that no name of a person gets into file names, tables and addresses.
fn is_series_uid(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=MAX_UID).contains(&text.len()) && text.chars().all(fine) && !text.starts_with('.')
}

/// What is wrong with a MetaImage file, without a file's name.
pub(super) fn in_words(problem: &Problem) -> Message {
    let text = |value: &dyn ToString| value.to_string();
    match problem {
        Problem::NotMetaImage { limit } => Message::MetaNone { limit: text(limit) },
        Problem::Line { line } => Message::MetaLine { line: text(line) },
        Problem::Missing { key, expected } => Message::MetaMissing { key: text(key), expected: text(expected) },
        Problem::Field { line, key, found, expected } => {
            let (line, key) = (text(line), text(key));
            Message::MetaField { line, key, found: found.clone(), expected: expected.clone() }
        }
        Problem::Twice { key, first, second } => {
            Message::MetaTwice { key: text(key), first: text(first), second: text(second) }
        }
        Problem::DataLength { found, expected, claim } => {
            Message::PairLength { found: text(found), expected: text(expected), claim: claim.clone() }
        }
        Problem::CompressedLength { found, expected } => {
            Message::MetaPackedLength { found: text(found), expected: text(expected) }
        }
        Problem::CompressedSurplus { found, used } => {
            Message::MetaPackedLength { found: text(found), expected: text(used) }
        }
        Problem::InflatedLength { found, expected, claim, .. } => {
            Message::MetaUnpacked { found: text(found), expected: text(expected), claim: claim.clone() }
        }
        Problem::Zlib { decoded, expected, .. } => {
            Message::MetaZlib { decoded: text(decoded), expected: text(expected) }
        }
        Problem::NonFinite { count, .. } => Message::MetaNotFinite { count: text(count) },
        other => Message::MetaOther { what: text(other) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Language;

    fn header(data: &str) -> String {
        format!(
            "ObjectType = Image\nNDims = 3\nDimSize = 4 5 6\nElementSpacing = 1 1 2\nElementType = MET_SHORT\n\
             ElementDataFile = {data}\n"
        )
    }

    fn file(path: &str, bytes: u64, header: Option<String>) -> Offered {
        Offered { path: path.to_owned(), bytes, header }
    }

    fn reason(result: &Result<Pair, Message>) -> String {
        result.as_ref().err().map(|message| message.text(Language::En)).unwrap_or_default()
    }

    #[test]
    fn a_header_finds_its_data_beside_it_and_nowhere_else() {
        let files = [
            file("a/1.2.mhd", 200, Some(header("1.2.RAW"))),
            file("a/1.2.raw", 240, None),
            file("b/1.3.mhd", 200, Some(header("1.2.raw"))),
            file("1.4.mha", 380, Some(header("LOCAL"))),
            file("a/1.5.raw", 240, None),
            file("annotations.csv", 9, None),
            file("a/slice.dcm", 9, None),
            file("notes.txt", 9, None),
        ];
        let (paired, left) = pair(&files);
        let names: Vec<_> = paired.iter().map(|paired| paired.path.as_str()).collect();
        assert_eq!(names, ["1.4.mha", "a/1.2.mhd", "b/1.3.mhd"]);
        let local = paired[0].result.as_ref().unwrap_err().text(Language::En);
        assert!(local.contains("380") && local.contains(&(240 + header("LOCAL").len()).to_string()), "{local}");
        let pair = paired[1].result.as_ref().unwrap();
        assert_eq!((pair.series_uid.as_str(), pair.data_path.as_str(), pair.data_bytes), ("1.2", "a/1.2.raw", 240));
        assert!(reason(&paired[2].result).contains("1.2.raw"), "{}", reason(&paired[2].result));
        let left: Vec<_> = left.iter().map(|left| (left.path.as_str(), left.reason.clone())).collect();
        let no_header = Message::PairNoHeader { wanted: "1.5.mhd".to_owned() };
        assert_eq!(
            left,
            [
                ("a/1.5.raw", no_header),
                ("a/slice.dcm", Message::PairDicom),
                ("annotations.csv", Message::PairTable),
                ("notes.txt", Message::PairOther),
            ]
        );
    }

    #[test]
    fn what_cannot_be_a_scan_is_refused_with_both_numbers_and_without_names_of_people() {
        let named = |name: &str, bytes| {
            let data = format!("{name}.raw");
            let files = [file(&format!("{name}.mhd"), 200, Some(header(&data))), file(&data, bytes, None)];
            let (mut paired, left) = pair(&files);
            assert!(left.is_empty());
            paired.remove(0).result
        };
        assert!(named("1.2.3", 240).is_ok());
        let short = named("1.2.3", 239);
        assert!(reason(&short).contains("239") && reason(&short).contains("240"), "{}", reason(&short));
        for name in ["张三", "a b", "", ".hidden", "a,b", &"1".repeat(65)] {
            assert!(matches!(named(name, 240), Err(Message::PairName { .. })), "{name}");
        }
        for data in ["../1.raw", "/etc/passwd", "a/b.raw", "C:\\x.raw", "x%03d.raw 1 2 3", "LIST"] {
            let (paired, _) = pair(&[file("1.mhd", 200, Some(header(data)))]);
            assert!(matches!(paired[0].result, Err(Message::MetaField { .. })), "{data}");
        }
        let twice = [
            file("a/1.mhd", 200, Some(header("1.raw"))),
            file("a/1.raw", 240, None),
            file("b/1.mhd", 200, Some(header("1.raw"))),
            file("b/1.raw", 240, None),
        ];
        let (paired, _) = pair(&twice);
        assert!(paired[0].result.is_ok() && matches!(paired[1].result, Err(Message::PairTwice { .. })));
        let (paired, _) = pair(&[file("1.mhd", 200, None)]);
        assert!(matches!(paired[0].result, Err(Message::MetaNone { .. })));
    }
}
