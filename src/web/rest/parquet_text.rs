//! A column of texts that repeat. The library looks up each value in a table; here a run of the same text is one entry, however long it is,
//! so that most columns of bars cost almost nothing.

use bytes::{BufMut, Bytes};
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::SchemaDescriptor;

/// Texts in order, as runs.
#[derive(Debug)]
pub(super) struct TextRuns {
    /// Each text once.
    texts: Vec<String>,
    /// The index of a text, and how often it repeats.
    runs: Vec<(usize, usize)>,
}

impl TextRuns {
    pub(super) const fn new() -> Self {
        Self {
            texts: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// Adds a text `times` times.
    pub(super) fn push(&mut self, text: &str, times: usize) {
        let at = self.texts.iter().rposition(|known| known == text).unwrap_or_else(|| {
            self.texts.push(text.to_owned());
            self.texts.len().saturating_sub(1)
        });
        match self.runs.last_mut() {
            Some((last, count)) if *last == at => *count = count.saturating_add(times),
            _ => self.runs.push((at, times)),
        }
    }

    /// Writes the texts as column `at` of a row group: a dictionary, and a page with runs of its entries. Empties the column.
    pub(super) fn write(
        &mut self,
        group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
        at: usize,
        schema: &SchemaDescriptor,
    ) -> Result<(), ParquetError> {
        let rows: usize = self.runs.iter().map(|(_, count)| count).sum();
        let mut out = TrackedWrite::new(Vec::new());
        let mut pages = SerializedPageWriter::new(&mut out);
        let dictionary = Page::DictionaryPage {
            buf: self.dictionary()?,
            num_values: u32::try_from(self.texts.len())?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let entries = Page::DataPage {
            buf: self.entries()?,
            num_values: u32::try_from(rows)?,
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let mut offsets = Vec::new();
        let mut bytes = 0_usize;
        for page in [dictionary, entries] {
            let size = page.buffer().len();
            let written = pages.write_page(CompressedPage::new(page, size))?;
            offsets.push(i64::try_from(written.offset)?);
            bytes = bytes.saturating_add(written.uncompressed_size);
        }
        let of = |text: Option<&String>| text.map(|text| ByteArray::from(text.as_str()));
        let least = of(self.texts.iter().min());
        let greatest = of(self.texts.iter().max());
        let size = i64::try_from(bytes)?;
        let metadata = ColumnChunkMetaData::builder(schema.column(at))
            .set_compression(Compression::UNCOMPRESSED)
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
            .set_num_values(i64::try_from(rows)?)
            .set_total_compressed_size(size)
            .set_total_uncompressed_size(size)
            .set_dictionary_page_offset(offsets.first().copied())
            .set_data_page_offset(offsets.last().copied().unwrap_or_default())
            .set_statistics(Statistics::byte_array(least, greatest, None, Some(0), false))
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: u64::try_from(bytes)?,
            rows_written: u64::try_from(rows)?,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        self.texts.clear();
        self.runs.clear();
        group.append_column(&Bytes::from(out.into_inner()?), close)
    }

    /// Each text, preceded by its length.
    fn dictionary(&self) -> Result<Bytes, ParquetError> {
        let mut plain = Vec::new();
        for text in &self.texts {
            plain.put_u32_le(u32::try_from(text.len())?);
            plain.put_slice(text.as_bytes());
        }
        Ok(Bytes::from(plain))
    }

    /// The bits of an entry, then the runs: the length of each, doubled, seven bits a byte, then the entry in whole bytes.
    fn entries(&self) -> Result<Bytes, ParquetError> {
        let bits = usize::BITS.saturating_sub(self.texts.len().saturating_sub(1).leading_zeros());
        let mut runs = vec![u8::try_from(bits)?];
        for (entry, count) in &self.runs {
            let mut length = count.saturating_mul(2);
            while length > 0x7f {
                runs.push(u8::try_from(length & 0x7f)? | 0x80);
                length >>= 7;
            }
            runs.push(u8::try_from(length)?);
            let entry = u32::try_from(*entry)?.to_le_bytes();
            let bytes = usize::try_from(bits.div_ceil(8))?;
            runs.extend(entry.iter().take(bytes));
        }
        Ok(Bytes::from(runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::properties::WriterProperties;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::record::RowAccessor;
    use parquet::schema::parser::parse_message_type;
    use std::sync::Arc;

    /// The texts that a reader finds in a file of one column.
    fn read_back(texts: &[(&str, usize)]) -> Vec<String> {
        let schema = Arc::new(parse_message_type("message m { REQUIRED BYTE_ARRAY t (STRING); }").unwrap());
        let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::default())).unwrap();
        let mut runs = TextRuns::new();
        for (text, times) in texts {
            runs.push(text, *times);
        }
        let columns = file.schema_descr().clone();
        let mut group = file.next_row_group().unwrap();
        runs.write(&mut group, 0, &columns).unwrap();
        group.close().unwrap();
        let read = SerializedFileReader::new(Bytes::from(file.into_inner().unwrap())).unwrap();
        let rows = read.get_row_iter(None).unwrap();
        rows.map(|row| row.unwrap().get_string(0).unwrap().clone()).collect()
    }

    #[test]
    fn texts_are_read_back_as_they_were_whatever_their_runs() {
        let many: Vec<String> = (0..700).map(|n| format!("text {}", n % 300)).collect();
        let many: Vec<(&str, usize)> = many.iter().map(|text| (text.as_str(), 1)).collect();
        for texts in [
            vec![("a", 1)],
            vec![("", 1), ("late_start|feed_gap", 2), ("", 70_000)],
            vec![("a", 63), ("b", 64), ("a", 8_191), ("c", 8_192)],
            many,
        ] {
            let expect: Vec<&str> = texts
                .iter()
                .flat_map(|(text, times)| std::iter::repeat_n(*text, *times))
                .collect();
            assert_eq!(read_back(&texts), expect);
        }
    }
}
