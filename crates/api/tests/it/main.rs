//! The codecs against upstream's golden objects, and against every message in the table.

mod generate;
mod golden;
mod hostile;
mod roundtrip;
mod strict;
mod typed;
