use crate::check;
use grammar::int_or_string::IntOrString;

#[test]
fn counts_and_percentages_are_scaled_as_upstream() {
    check("int_or_string", 50, |check, case| {
        if let Some(text) = case["parse"].as_str() {
            check.same(case, "json", IntOrString::parse(text).to_json());
            return;
        }
        let value = IntOrString::from_json(&case["value"]).expect("a number or a text");
        let total = case["total"].as_i64().expect("a total is a number");
        check.same(case, "print", value.to_string());
        check.same(case, "int", value.int_value());
        match (value.scaled(total, true), value.scaled(total, false)) {
            (Ok(up), Ok(down)) => {
                check.same(case, "up", up);
                check.same(case, "down", down);
                check.same(case, "error", serde_json::Value::Null);
            }
            (Err(error), _) | (_, Err(error)) => check.same(case, "error", error.to_string()),
        }
    });
}
