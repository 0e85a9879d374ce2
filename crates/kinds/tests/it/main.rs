//! Every kind against its sample and its recorded rows.
//!
//! `data/<group>/<plural>.json` holds a valid object as a client writes it, and what upstream makes of it:
//! prepared for storage, as a table row, as selectable fields. `data/<group>/<plural>.rows` holds mutations of
//! that object and upstream's verdict on each; see `rows.rs` for the format.

mod kinds;
mod robust;
mod rows;
mod sample;
