//! Complaints of Go's JSON decoder, for the few messages that pass them on.

/// Whether `bytes` hold one JSON object (or null), or else what Go says.
pub fn object(bytes: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(serde_json::Value::Object(_) | serde_json::Value::Null) => Ok(()),
        Ok(other) => {
            let what = match other {
                serde_json::Value::Array(_) => "array",
                serde_json::Value::String(_) => "string",
                serde_json::Value::Bool(_) => "bool",
                _ => "number",
            };
            Err(format!("json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"))
        }
        Err(err) if err.is_eof() => Err("unexpected end of JSON input".to_owned()),
        Err(err) => {
            let at = err.column().saturating_sub(1);
            let shown = bytes.get(at).map(|byte| char::from(*byte)).unwrap_or_default();
            Err(format!("invalid character '{shown}' looking for beginning of value"))
        }
    }
}
