//! Lines of a stream with a limit: whatever a worker prints, no more than one line's limit is held.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt};

/// What stands between two line ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Text(&'a [u8]),
    /// Longer than the limit; passed over.
    TooLong,
}

/// The next line, without its end; `None` at the end of the stream.
pub(super) async fn next<'a>(
    reader: &mut (impl AsyncBufRead + Unpin),
    buffer: &'a mut Vec<u8>,
    limit: usize,
) -> io::Result<Option<Line<'a>>> {
    buffer.clear();
    let (mut any, mut too_long) = (false, false);
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            break;
        }
        any = true;
        let end = available.iter().position(|&byte| byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        if buffer.len() + part.len() > limit {
            too_long = true;
            buffer.clear();
        }
        if !too_long {
            buffer.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            break;
        }
    }
    Ok(match (any, too_long) {
        (false, _) => None,
        (true, true) => Some(Line::TooLong),
        (true, false) => Some(Line::Text(buffer)),
    })
}

/// Everything up to the end of the stream; `None` where it is more than the limit. All of it is read either way, so that
/// nobody waits to write the rest.
pub(super) async fn all(reader: &mut (impl AsyncRead + Unpin), limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    (&mut *reader).take(limit as u64 + 1).read_to_end(&mut content).await?;
    if content.len() <= limit {
        return Ok(Some(content));
    }
    drop(content);
    tokio::io::copy(reader, &mut tokio::io::sink()).await?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::BufReader;

    use super::*;

    /// The lines of a text, `None` for one that is too long, read with a small buffer.
    async fn lines(text: &[u8], limit: usize, capacity: usize) -> Vec<Option<Vec<u8>>> {
        let mut reader = BufReader::with_capacity(capacity, text);
        let (mut buffer, mut found) = (Vec::new(), Vec::new());
        while let Some(line) = next(&mut reader, &mut buffer, limit).await.unwrap() {
            found.push(match line {
                Line::Text(text) => Some(text.to_vec()),
                Line::TooLong => None,
            });
            assert!(buffer.len() <= limit);
        }
        found
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_text(text in "[ab\n]{0,60}", limit in 1_usize..20, capacity in 1_usize..20) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let found = runtime.block_on(lines(text.as_bytes(), limit, capacity));
            let fits = |line: &str| (line.len() <= limit).then(|| line.as_bytes().to_vec());
            prop_assert_eq!(found, text.lines().map(fits).collect::<Vec<_>>());
        }

        #[test]
        fn a_document_is_whole_or_nothing(size in 0_usize..300, limit in 0_usize..200) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let text = vec![b'x'; size];
            let mut rest = &text[..];
            let found = runtime.block_on(all(&mut rest, limit)).unwrap();
            prop_assert_eq!(found.is_some(), size <= limit);
            prop_assert!(rest.is_empty());
        }
    }
}
