//! What only the embedded backend can show: its file.
