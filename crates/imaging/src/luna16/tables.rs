//! LUNA16's tables: nodules (`annotations.csv`, `annotations_excluded.csv`), a detector's submission and the list of
//! scans (`seriesuids.csv`).
//!
//! This module knows the columns and nothing of what they are used for. Lines are split here rather than by a CSV
//! library because no field of these tables can hold a comma or a quote, and because an error must name the right line
//! whatever the line ends are and must not need memory for a line without end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

const SERIES_UID: &str = "seriesuid";
const COORDINATES: [&str; 3] = ["coordX", "coordY", "coordZ"];
const DIAMETER: &str = "diameter_mm";
const PROBABILITY: &str = "probability";

/// No row of these tables comes near this many bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// LUNA16's largest table (`candidates_V2.csv`) has 754,976; the bound stops a small gzip file that unpacks without end.
const MAX_LINES: u64 = 20_000_000;

/// A row of `annotations.csv` or `annotations_excluded.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// SeriesInstanceUID of the scan, LUNA16's file name.
    pub series_uid: String,
    /// Centre in world coordinates (LPS), millimetres.
    pub center_mm_xyz: [f64; 3],
    /// Diameter in millimetres; negative where LUNA16 states none (excluded findings).
    pub diameter_mm: f64,
}

/// A row of a submission: one place where a detector says that there is a nodule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// SeriesInstanceUID of the scan.
    pub series_uid: String,
    /// Centre in world coordinates (LPS), millimetres.
    pub center_mm_xyz: [f64; 3],
    /// The detector's confidence; any finite score can be ranked, [0, 1] is customary.
    pub probability: f64,
    /// Diameter in millimetres, above 0, where the detector states one. LUNA16 itself does not ask for it.
    pub diameter_mm: Option<f64>,
}

/// Why a table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be opened or read (a damaged gzip stream is found here too).
    #[error("cannot read the table {path}")]
    Read {
        /// The table.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the table {path}")]
    Write {
        /// The table.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The first line does not name a needed column exactly once.
    #[error(
        "{path}, line 1: the column `{column}` must be named once in the header, found `{found}`; \
         LUNA16 tables are comma-separated and begin with a line of column names"
    )]
    Header {
        /// The table.
        path: PathBuf,
        /// The column that is missing or named twice.
        column: &'static str,
        /// The header, shortened.
        found: String,
    },
    /// A row does not have one field for each column of the header.
    #[error("{path}, line {line}: found {found} fields, expected {expected} as in the header")]
    FieldCount {
        /// The table.
        path: PathBuf,
        /// Line in the file, from 1.
        line: u64,
        /// Number of fields in the row.
        found: usize,
        /// Number of columns.
        expected: usize,
    },
    /// A field does not hold what its column is for.
    #[error("{path}, line {line}, column `{column}`: found `{found}`, expected {expected}")]
    Field {
        /// The table.
        path: PathBuf,
        /// Line in the file, from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// The field, shortened.
        found: String,
        /// What a valid field is.
        expected: &'static str,
    },
    /// A line is no text of a table: not UTF-8, or absurdly long.
    #[error("{path}, line {line}: not a line of a UTF-8 text table ({reason}); save it as comma-separated UTF-8")]
    NotText {
        /// The table.
        path: PathBuf,
        /// Line in the file, from 1.
        line: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Reads `annotations.csv` or `annotations_excluded.csv`, plain or gzip-compressed.
///
/// Columns are found by name, in any order; further columns are ignored; rows are kept as they come, duplicates too.
///
/// # Errors
/// [`TableError`] names path and line of the first thing that is not as it should be.
pub fn read_findings(path: &Path) -> Result<Vec<Finding>, TableError> {
    let mut table = Table::open(path)?;
    let columns = table.finding_columns()?;
    table.rows(|row| row.finding(columns))
}

/// A table of findings of which every row was looked at, also behind one that is wrong.
#[derive(Debug)]
pub struct CheckedFindings {
    /// The good rows, each with its line in the file, from 1.
    pub findings: Vec<(u64, Finding)>,
    /// The others.
    pub wrong: Vec<TableError>,
}

/// As [`read_findings`], but goes on behind a wrong row until there are `most_wrong` of them, so that somebody who mends
/// the table sees all of it. Besides, a diameter must be above 0, which only `annotations_excluded.csv` may break.
///
/// # Errors
/// When there is no going on: the file cannot be read, or its first line does not name the columns.
pub fn check_findings(path: &Path, most_wrong: usize) -> Result<CheckedFindings, TableError> {
    let mut table = Table::open(path)?;
    let columns = table.finding_columns()?;
    let mut checked = CheckedFindings { findings: Vec::new(), wrong: Vec::new() };
    while checked.wrong.len() < most_wrong {
        let width = table.header.len();
        let row = match table.lines.next() {
            Ok(Some(row)) if row.fields == [""] => continue,
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(error @ TableError::NotText { .. }) => {
                checked.wrong.push(error);
                // The rest of a line without end would be taken for lines of their own.
                break;
            }
            Err(error) => return Err(error),
        };
        let finding = row.of_width(width).and_then(|()| row.finding(columns)).and_then(|finding| {
            let positive = finding.diameter_mm > 0.0;
            let (found, expected) = (finding.diameter_mm.to_string(), "a diameter above 0 mm");
            if positive { Ok(finding) } else { Err(row.error(DIAMETER, &found, expected)) }
        });
        match finding {
            Ok(finding) => checked.findings.push((row.line, finding)),
            Err(error) => checked.wrong.push(error),
        }
    }
    Ok(checked)
}

/// Reads a submission, plain or gzip-compressed; the column `diameter_mm` may be absent, and a field of it empty or
/// not positive (LUNA16 writes -1 for "not known").
///
/// # Errors
/// As [`read_findings`].
pub fn read_marks(path: &Path) -> Result<Vec<Mark>, TableError> {
    let mut table = Table::open(path)?;
    let uid = table.column(SERIES_UID)?;
    let center = table.center_columns()?;
    let probability = table.column(PROBABILITY)?;
    let diameter = table.optional_column(DIAMETER)?;
    table.rows(|row| {
        Ok(Mark {
            series_uid: row.series_uid(uid)?,
            center_mm_xyz: row.center(center)?,
            probability: row.number(probability, PROBABILITY)?,
            diameter_mm: match diameter {
                Some(column) if !row.fields[column].is_empty() => {
                    Some(row.number(column, DIAMETER)?).filter(|&d| d > 0.0)
                }
                _ => None,
            },
        })
    })
}

/// Reads `seriesuids.csv`: one UID a line without a header, as LUNA16 ships it, or any table with a column `seriesuid`.
///
/// # Errors
/// As [`read_findings`].
pub fn read_series_uids(path: &Path) -> Result<Vec<String>, TableError> {
    let mut table = Table::open(path)?;
    if table.header.iter().any(|name| name == SERIES_UID) {
        let uid = table.column(SERIES_UID)?;
        return table.rows(|row| row.series_uid(uid));
    }
    if table.header.is_empty() {
        return Ok(Vec::new());
    }
    if table.header.len() > 1 {
        // Several columns and none of them named: there is no telling which one holds the UIDs.
        table.column(SERIES_UID)?;
    }
    let first = Row { path, line: 1, fields: table.header.iter().map(String::as_str).collect() }.series_uid(0)?;
    let mut uids = vec![first];
    uids.extend(table.rows(|row| row.series_uid(0))?);
    Ok(uids)
}

/// Writes `annotations.csv`. The file appears whole or not at all; a path ending in `.gz` is compressed. Numbers are
/// written as the shortest decimals that read back as the same `f64`.
///
/// # Errors
/// [`TableError::Field`] for a value that would not read back; [`TableError::Write`].
pub fn write_findings(path: &Path, findings: &[Finding]) -> Result<(), TableError> {
    let mut table = TableWriter::new(path, &[SERIES_UID, COORDINATES[0], COORDINATES[1], COORDINATES[2], DIAMETER]);
    for finding in findings {
        table.place(&finding.series_uid, finding.center_mm_xyz)?;
        table.number(DIAMETER, finding.diameter_mm)?;
        table.end_row();
    }
    table.save()
}

/// Writes a submission, with the column `diameter_mm` if any mark has one; otherwise as [`write_findings`].
///
/// # Errors
/// As [`write_findings`].
pub fn write_marks(path: &Path, marks: &[Mark]) -> Result<(), TableError> {
    let with_diameter = marks.iter().any(|mark| mark.diameter_mm.is_some());
    let columns = [SERIES_UID, COORDINATES[0], COORDINATES[1], COORDINATES[2], PROBABILITY, DIAMETER];
    let mut table = TableWriter::new(path, &columns[..if with_diameter { 6 } else { 5 }]);
    for mark in marks {
        table.place(&mark.series_uid, mark.center_mm_xyz)?;
        table.number(PROBABILITY, mark.probability)?;
        match mark.diameter_mm {
            Some(diameter) if diameter > 0.0 => table.number(DIAMETER, diameter)?,
            Some(other) => return Err(table.field_error(DIAMETER, &other.to_string(), "a diameter above 0 mm")),
            None if with_diameter => table.text.push(','),
            None => {}
        }
        table.end_row();
    }
    table.save()
}

/// Writes `seriesuids.csv` as LUNA16 has it: one UID a line, no header; otherwise as [`write_findings`].
///
/// # Errors
/// As [`write_findings`].
pub fn write_series_uids(path: &Path, series_uids: &[String]) -> Result<(), TableError> {
    let mut table = TableWriter::new(path, &[]);
    for uid in series_uids {
        table.series_uid(uid)?;
        table.end_row();
    }
    table.save()
}

const UID_EXPECTED: &str = "a series UID (not empty, no comma, quote, space, control character or byte order mark)";

fn is_series_uid(text: &str) -> bool {
    // A byte order mark at the beginning of a list would not come back when it is read.
    !text.is_empty()
        && !text.contains(|c: char| matches!(c, ',' | '"' | '\u{feff}') || c.is_whitespace() || c.is_control())
}

/// At most 40 characters of something that was not expected; control characters must not reach a terminal.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() {
        short.push('…');
    }
    short
}

/// A table being read: the header is parsed, the rows are still in the file.
struct Table<'p> {
    path: &'p Path,
    header: Vec<String>,
    lines: Lines<'p>,
}

struct Lines<'p> {
    path: &'p Path,
    reader: Box<dyn BufRead>,
    line: u64,
    buffer: Vec<u8>,
}

/// Where a finding's series UID, centre and diameter stand in a row.
type FindingColumns = (usize, [usize; 3], usize);

struct Row<'a> {
    path: &'a Path,
    line: u64,
    fields: Vec<&'a str>,
}

impl<'p> Table<'p> {
    fn open(path: &'p Path) -> Result<Self, TableError> {
        let read_error = |source| TableError::Read { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(read_error)?);
        let is_gzip = file.fill_buf().map_err(read_error)?.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn BufRead> =
            if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) };
        let mut lines = Lines { path, reader, line: 0, buffer: Vec::new() };
        let header = match lines.next()? {
            Some(row) => row.fields.into_iter().map(str::to_owned).collect(),
            None => Vec::new(),
        };
        Ok(Self { path, header, lines })
    }

    fn optional_column(&self, name: &'static str) -> Result<Option<usize>, TableError> {
        let mut found = self.header.iter().enumerate().filter(|(_, column)| *column == name).map(|(index, _)| index);
        match (found.next(), found.next()) {
            (index, None) => Ok(index),
            (_, Some(_)) => Err(self.header_error(name)),
        }
    }

    fn column(&self, name: &'static str) -> Result<usize, TableError> {
        self.optional_column(name)?.ok_or_else(|| self.header_error(name))
    }

    fn center_columns(&self) -> Result<[usize; 3], TableError> {
        let [x, y, z] = COORDINATES;
        Ok([self.column(x)?, self.column(y)?, self.column(z)?])
    }

    fn finding_columns(&self) -> Result<FindingColumns, TableError> {
        Ok((self.column(SERIES_UID)?, self.center_columns()?, self.column(DIAMETER)?))
    }

    fn header_error(&self, column: &'static str) -> TableError {
        TableError::Header { path: self.path.to_owned(), column, found: shortened(&self.header.join(",")) }
    }

    /// Every row that is not blank, parsed.
    fn rows<T>(&mut self, parse: impl Fn(&Row) -> Result<T, TableError>) -> Result<Vec<T>, TableError> {
        let mut parsed = Vec::new();
        while let Some(row) = self.lines.next()? {
            if row.fields == [""] {
                continue;
            }
            row.of_width(self.header.len())?;
            parsed.push(parse(&row)?);
        }
        Ok(parsed)
    }
}

impl Lines<'_> {
    /// The next line split into fields, or nothing at the end of the file.
    fn next(&mut self) -> Result<Option<Row<'_>>, TableError> {
        self.line += 1;
        let line = self.line;
        let not_text = |reason| TableError::NotText { path: self.path.to_owned(), line, reason };
        self.buffer.clear();
        let read = (&mut self.reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut self.buffer);
        match read.map_err(|source| TableError::Read { path: self.path.to_owned(), source })? {
            0 => return Ok(None),
            length if length as u64 == MAX_LINE_BYTES => return Err(not_text("longer than 64 KiB")),
            _ if line > MAX_LINES => return Err(not_text("more than 20 million lines")),
            _ => {}
        }
        let text = str::from_utf8(&self.buffer).map_err(|_| not_text("not UTF-8"))?;
        // Spreadsheet programs put a byte order mark before the first column.
        let text = if line == 1 { text.trim_start_matches('\u{feff}') } else { text };
        let fields = text.split(',').map(unquote).collect();
        Ok(Some(Row { path: self.path, line, fields }))
    }
}

/// A field without the blanks and the quotes that some programs put around it.
fn unquote(field: &str) -> &str {
    let trimmed = field.trim();
    trimmed.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(trimmed)
}

impl Row<'_> {
    fn of_width(&self, expected: usize) -> Result<(), TableError> {
        let found = self.fields.len();
        if found == expected {
            return Ok(());
        }
        Err(TableError::FieldCount { path: self.path.to_owned(), line: self.line, found, expected })
    }

    fn finding(&self, (uid, center, diameter): FindingColumns) -> Result<Finding, TableError> {
        Ok(Finding {
            series_uid: self.series_uid(uid)?,
            center_mm_xyz: self.center(center)?,
            diameter_mm: self.number(diameter, DIAMETER)?,
        })
    }

    fn error(&self, column: &'static str, found: &str, expected: &'static str) -> TableError {
        let found = shortened(found);
        TableError::Field { path: self.path.to_owned(), line: self.line, column, found, expected }
    }

    fn series_uid(&self, index: usize) -> Result<String, TableError> {
        let field = self.fields[index];
        if is_series_uid(field) { Ok(field.to_owned()) } else { Err(self.error(SERIES_UID, field, UID_EXPECTED)) }
    }

    fn number(&self, index: usize, column: &'static str) -> Result<f64, TableError> {
        let field = self.fields[index];
        // `parse` also takes "nan" and "inf", which no position, size or score can be.
        match field.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(self.error(column, field, "a finite decimal number")),
        }
    }

    fn center(&self, columns: [usize; 3]) -> Result<[f64; 3], TableError> {
        let [x, y, z] = columns;
        let [name_x, name_y, name_z] = COORDINATES;
        Ok([self.number(x, name_x)?, self.number(y, name_y)?, self.number(z, name_z)?])
    }
}

/// A table being written, complete in memory until [`TableWriter::save`].
struct TableWriter<'p> {
    path: &'p Path,
    text: String,
    line: u64,
}

impl<'p> TableWriter<'p> {
    fn new(path: &'p Path, header: &[&str]) -> Self {
        let mut table = Self { path, text: header.join(","), line: 1 };
        if !header.is_empty() {
            table.end_row();
        }
        table
    }

    fn field_error(&self, column: &'static str, found: &str, expected: &'static str) -> TableError {
        Row { path: self.path, line: self.line, fields: Vec::new() }.error(column, found, expected)
    }

    fn series_uid(&mut self, uid: &str) -> Result<(), TableError> {
        if !is_series_uid(uid) {
            return Err(self.field_error(SERIES_UID, uid, UID_EXPECTED));
        }
        self.text.push_str(uid);
        Ok(())
    }

    fn number(&mut self, column: &'static str, value: f64) -> Result<(), TableError> {
        if !value.is_finite() {
            return Err(self.field_error(column, &value.to_string(), "a finite number"));
        }
        self.text.push_str(&format!(",{value}"));
        Ok(())
    }

    fn place(&mut self, uid: &str, center_mm_xyz: [f64; 3]) -> Result<(), TableError> {
        self.series_uid(uid)?;
        COORDINATES.iter().zip(center_mm_xyz).try_for_each(|(column, value)| self.number(column, value))
    }

    fn end_row(&mut self) {
        self.text.push('\n');
        self.line += 1;
    }

    fn save(self) -> Result<(), TableError> {
        let save = || {
            let mut file = AtomicWriteFile::open(self.path)?;
            if self.path.extension().is_some_and(|extension| extension == "gz") {
                let mut encoder = GzEncoder::new(&mut file, Compression::default());
                encoder.write_all(self.text.as_bytes())?;
                encoder.finish()?;
            } else {
                file.write_all(self.text.as_bytes())?;
            }
            file.commit()
        };
        save().map_err(|source| TableError::Write { path: self.path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::error::Error;

    fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn findings_error(bytes: &[u8]) -> String {
        let (_folder, path) = file("annotations.csv", bytes);
        let error = read_findings(&path).unwrap_err().to_string();
        error.replace(&path.display().to_string(), "PATH")
    }

    #[test]
    fn every_row_is_looked_at_and_the_wrong_ones_are_told_with_their_lines() {
        let head = "seriesuid,coordX,coordY,coordZ,diameter_mm";
        let rows = "1.2,1,2,3,4.5\n1.3,x,2,3,4\n\n1.2,1,2,3\n1.4,1,2,3,-1\n,1,2,3,4\n1.5,7,8,9,10\n";
        let (_folder, path) = file("annotations.csv", format!("{head}\n{rows}").as_bytes());
        let checked = check_findings(&path, 10).unwrap();
        let good: Vec<_> = checked.findings.iter().map(|(line, row)| (*line, row.series_uid.as_str())).collect();
        assert_eq!(good, [(2, "1.2"), (8, "1.5")]);
        let wrong: Vec<_> =
            checked.wrong.iter().map(|error| error.to_string().replace(path.to_str().unwrap(), "")).collect();
        assert_eq!(wrong.len(), 4);
        assert!(wrong[0].starts_with(", line 3, column `coordX`: found `x`"), "{wrong:?}");
        assert!(wrong[1].starts_with(", line 5: found 4 fields"), "{wrong:?}");
        assert!(wrong[2].contains("line 6") && wrong[2].contains("above 0 mm"), "{wrong:?}");
        assert_eq!(check_findings(&path, 2).unwrap().wrong.len(), 2);
        let (_folder, path) = file("annotations.csv", b"a,b\n1,2\n");
        assert!(matches!(check_findings(&path, 2), Err(TableError::Header { .. })));
    }

    fn uid() -> impl Strategy<Value = String> {
        "[0-9A-Za-z._-]{1,64}"
    }

    fn finite() -> impl Strategy<Value = f64> {
        prop_oneof![-1e3..1e3f64, any::<f64>().prop_filter("finite", |v| v.is_finite())]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn findings_read_back_bit_for_bit(rows in prop::collection::vec((uid(), [finite(), finite(), finite()], finite()), 0..20), gz: bool) {
            let findings: Vec<Finding> = rows
                .into_iter()
                .map(|(series_uid, center_mm_xyz, diameter_mm)| Finding { series_uid, center_mm_xyz, diameter_mm })
                .collect();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(if gz { "结节.csv.gz" } else { "结节.csv" });
            write_findings(&path, &findings).unwrap();
            prop_assert_eq!(read_findings(&path).unwrap(), findings);
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left behind");
        }

        #[test]
        fn marks_read_back_bit_for_bit(rows in prop::collection::vec((uid(), [finite(), finite(), finite()], finite(), prop::option::of(1e-3..99.0f64)), 0..20)) {
            let marks: Vec<Mark> = rows
                .into_iter()
                .map(|(series_uid, center_mm_xyz, probability, diameter_mm)| Mark { series_uid, center_mm_xyz, probability, diameter_mm })
                .collect();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("submission.csv");
            write_marks(&path, &marks).unwrap();
            prop_assert_eq!(read_marks(&path).unwrap(), marks);
        }

        #[test]
        fn series_uids_read_back(uids in prop::collection::vec(uid(), 0..20)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("seriesuids.csv");
            write_series_uids(&path, &uids).unwrap();
            prop_assert_eq!(read_series_uids(&path).unwrap(), uids);
        }

        #[test]
        fn no_bytes_make_a_reader_panic(bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "(seriesuid|coordX|coordY|coordZ|diameter_mm|probability|1|-|,|\n|\r|\"|\u{feff}|\u{1f}\u{8b}){0,60}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(|tail| [&[0x1f, 0x8b, 8, 0][..], &tail].concat()),
        ]) {
            let (_folder, path) = file("any.csv", &bytes);
            let _ = (read_findings(&path).is_ok(), read_marks(&path).is_ok(), read_series_uids(&path).is_ok());
        }
    }

    #[test]
    fn columns_are_found_by_name_whatever_wrote_the_file() {
        let text = "\u{feff}\"diameter_mm\", coordZ,seriesuid,note,coordY,coordX\r\n-1,3,1.2.3,x y,2,1e1\r\n-1,3,1.2.3,,2,10.0\r\n\r\n\n";
        let (_folder, path) = file("annotations.csv", text.as_bytes());
        let expected = Finding { series_uid: "1.2.3".to_owned(), center_mm_xyz: [10.0, 2.0, 3.0], diameter_mm: -1.0 };
        assert_eq!(read_findings(&path).unwrap(), [expected.clone(), expected]);
    }

    #[test]
    fn a_list_of_scans_may_have_a_header() {
        for text in ["1.2\n1.3\n", "seriesuid\n1.2\n1.3", "subset,seriesuid\r\n0,1.2\r\n1,1.3\r\n"] {
            let (_folder, path) = file("seriesuids.csv", text.as_bytes());
            assert_eq!(read_series_uids(&path).unwrap(), ["1.2", "1.3"], "{text:?}");
        }
    }

    /// Found by the fuzzer.
    #[test]
    fn a_byte_order_mark_is_no_part_of_a_uid() {
        let (_folder, path) = file("seriesuids.csv", " \u{feff}b".as_bytes());
        assert!(matches!(read_series_uids(&path), Err(TableError::Field { .. })));
    }

    #[test]
    fn a_mark_without_a_known_diameter_has_none() {
        let text = "seriesuid,coordX,coordY,coordZ,probability,diameter_mm\n1,0,0,0,.5,\n1,0,0,0,.5,-1\n1,0,0,0,.5,6\n";
        let (_folder, path) = file("submission.csv", text.as_bytes());
        let diameters: Vec<_> = read_marks(&path).unwrap().iter().map(|mark| mark.diameter_mm).collect();
        assert_eq!(diameters, [None, None, Some(6.0)]);
    }

    #[test]
    fn errors_name_the_line_and_what_was_found() {
        const HEADER: &str = "seriesuid,coordX,coordY,coordZ,diameter_mm";
        assert_eq!(
            findings_error(b"seriesuid;coordX\n"),
            "PATH, line 1: the column `seriesuid` must be named once in the header, found `seriesuid;coordX`; \
             LUNA16 tables are comma-separated and begin with a line of column names"
        );
        assert!(findings_error(b"").contains("must be named once in the header, found ``"));
        assert!(findings_error(format!("{HEADER},coordX\n").as_bytes()).contains("`coordX` must be named once"));
        // The second row is on line 4: the blank line counts, and so does a CRLF once.
        assert_eq!(
            findings_error(format!("{HEADER}\r\n1.2,0,0,0,5\r\n\r\n1.2,0,nan,0,5\r\n").as_bytes()),
            "PATH, line 4, column `coordY`: found `nan`, expected a finite decimal number"
        );
        assert_eq!(
            findings_error(format!("{HEADER}\n1.2,0,0,0\n").as_bytes()),
            "PATH, line 2: found 4 fields, expected 5 as in the header"
        );
        assert!(
            findings_error(format!("{HEADER}\n,0,0,0,5\n").as_bytes()).contains("line 2, column `seriesuid`: found ``")
        );
        assert!(findings_error(b"\xff\n").contains("line 1: not a line of a UTF-8 text table (not UTF-8)"));
        let endless = [HEADER.as_bytes(), b"\n", &vec![b'1'; 100_000]].concat();
        assert!(findings_error(&endless).contains("line 2: not a line of a UTF-8 text table (longer than 64 KiB)"));
    }

    #[test]
    fn a_damaged_gzip_file_is_an_error_with_its_cause() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("annotations.csv.gz");
        let finding = Finding { series_uid: "1.2".to_owned(), center_mm_xyz: [1.0; 3], diameter_mm: 4.0 };
        write_findings(&path, &vec![finding; 100]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(read_findings(&path).unwrap_err().source().is_some());
    }

    #[test]
    fn what_would_not_read_back_is_not_written_and_the_old_file_stays() {
        let (_folder, path) = file("annotations.csv", b"old");
        for (series_uid, diameter_mm) in [("a,b", 1.0), ("", 1.0), ("a b", 1.0), ("a", f64::NAN)] {
            let finding = Finding { series_uid: series_uid.to_owned(), center_mm_xyz: [0.0; 3], diameter_mm };
            assert!(write_findings(&path, &[finding]).is_err());
        }
        let mark =
            Mark { series_uid: "a".to_owned(), center_mm_xyz: [0.0; 3], probability: 0.5, diameter_mm: Some(0.0) };
        assert!(write_marks(&path, &[mark]).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }
}
