use crate::{check, outcome, text};
use grammar::quantity::{GIGA, MILLI, NANO, Quantity};
use serde_json::{Value, json};

#[test]
fn quantities_are_read_and_written_as_upstream() {
    check("quantities", 120, |check, case| {
        let parsed: Result<Quantity, _> = text(case, "text").parse();
        let (print, error) = outcome(&parsed);
        check.same(case, "print", print);
        check.same(case, "error", error);
        let Ok(quantity) = parsed else { return };
        check.same(case, "format", quantity.format().name());
        check.same(case, "canonical", quantity.canonical());
        check.same(case, "sign", quantity.sign());
        check.same(case, "value", quantity.value());
        check.same(case, "milli", quantity.scaled_value(MILLI));
        check.same(case, "nano", quantity.scaled_value(NANO));
        check.same(case, "giga", quantity.scaled_value(GIGA));
        check.same(case, "int", quantity.as_i64().map_or(Value::Null, Value::from));
        if quantity.approximate().is_finite() {
            check.same(case, "float", grammar::go::float(quantity.approximate()));
        }
        let mut rounded = quantity;
        let exact = rounded.round_up(0);
        check.same(case, "rounded", json!([rounded.to_string(), exact]));
    });
}

#[test]
fn quantities_are_added_compared_and_multiplied_as_upstream() {
    check("quantity_arithmetic", 100, |check, case| {
        let quantity = |name: &str| text(case, name).parse::<Quantity>().expect("a recorded quantity parses");
        let a = quantity("a");
        if let Some(factor) = case["factor"].as_i64() {
            let mut product = a;
            check.same(case, "fits", product.mul(factor));
            check.same(case, "product", product.to_string());
            return;
        }
        let b = quantity("b");
        let (mut sum, mut difference) = (a.clone(), a.clone());
        sum.add(&b);
        difference.sub(&b);
        check.same(case, "cmp", a.cmp(&b) as i32);
        check.same(case, "sum", sum.to_string());
        check.same(case, "difference", difference.to_string());
    });
}
