//! Words that are stored by the names that they have in JSON, too.

/// Makes `name`, `from_name` and the conversions of SQLite for enums without fields.
macro_rules! stored_by_name {
    ($($type:ident { $($variant:ident $name:literal),* $(,)? })*) => {
        $(
            impl $type {
                /// The name in the database and the API.
                pub(crate) fn name(self) -> &'static str {
                    match self { $(Self::$variant => $name),* }
                }

                pub(crate) fn from_name(name: &str) -> Option<Self> {
                    match name {
                        $($name => Some(Self::$variant),)*
                        _ => None,
                    }
                }
            }

            impl rusqlite::types::ToSql for $type {
                fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                    Ok(self.name().into())
                }
            }

            impl rusqlite::types::FromSql for $type {
                fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                    Self::from_name(value.as_str()?).ok_or(rusqlite::types::FromSqlError::InvalidType)
                }
            }
        )*
    };
}

pub(crate) use stored_by_name;
