use crate::{check, text};
use grammar::field::{self, BadValue, Error, ErrorList, Path};
use serde_json::Value;

#[test]
fn field_errors_read_as_upstreams() {
    let spec = Path::new("spec");
    let containers = spec.child("containers");
    let container = containers.index(0);
    let path = container.child("name");
    check("field_errors", 150, |check, case| {
        let error = build(&path, case);
        check.same(case, "type", error.kind.reason());
        check.same(case, "field", error.field.as_str());
        check.same(case, "text", error.to_string());
        check.same(case, "body", error.body());
    });
}

fn build(path: &Path<'_>, case: &Value) -> Error {
    let value = || match case["value"].as_f64() {
        Some(float) if case["float"] == true => BadValue::Float(float),
        _ => BadValue::from(&case["value"]),
    };
    let detail = || text(case, "detail");
    let limit = || case["limit"].as_u64().map(|limit| limit as usize);
    let actual = || case["actual"].as_u64().map(|actual| actual as usize);
    let supported = || {
        let names = case["supported"].as_array().into_iter().flatten();
        names.filter_map(Value::as_str).collect::<Vec<&str>>()
    };
    match text(case, "case") {
        "invalid" => field::invalid(path, value(), detail()),
        "duplicate" => field::duplicate(path, value()),
        "not_found" => field::not_found(path, value()),
        "type_invalid" => field::type_invalid(path, value(), detail()),
        "not_supported" => field::not_supported(path, value(), &supported()),
        "named" => field::invalid(path, BadValue::named(text(case, "value")), detail()),
        "required" => field::required(path, detail()),
        "forbidden" => field::forbidden(path, detail()),
        "internal" => field::internal(path, detail()),
        "too_long" => field::too_long(path, limit()),
        "too_long_characters" => field::too_long_characters(path, limit()),
        "too_short" => field::too_short(path, "x", limit()),
        "too_many" => field::too_many(path, actual(), limit()),
        "too_few" => field::too_few(path, actual().unwrap_or_default(), limit()),
        other => panic!("no such kind of error: {other}"),
    }
}

#[test]
fn lists_of_errors_read_as_upstreams() {
    let spec = Path::new("spec");
    let containers = spec.child("containers");
    let container = containers.index(0);
    let path = container.child("name");
    check("field_error_lists", 5, |check, case| {
        let kinds = case["errors"].as_array().into_iter().flatten();
        let errors: ErrorList = kinds
            .map(|kind| match kind.as_str() {
                Some("FieldValueRequired") => field::required(&path, "a"),
                _ => field::invalid(&path, "v", "b"),
            })
            .collect();
        check.same(case, "text", errors.to_string());
        assert_eq!(errors.clone().into_result().is_ok(), errors.is_empty());
    });
}

#[test]
fn details_can_be_prefixed() {
    let errors: ErrorList = field::required(&Path::new("a"), "must be given").into();
    assert_eq!(errors.prefix_detail("outer: ").to_string(), "a: Required value: outer: must be given");
}
