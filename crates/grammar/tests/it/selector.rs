use crate::{check, outcome, text};
use grammar::field::Path;
use grammar::selector::{fields, label};
use serde_json::{Value, json};

#[test]
fn label_selectors_are_read_and_matched_as_upstream() {
    check("label_selectors", 80, |check, case| {
        let parsed: Result<label::Selector, _> = text(case, "text").parse();
        let (print, error) = outcome(&parsed);
        check.same(case, "print", print);
        check.same(case, "error", error);
        let spec = Path::new("spec");
        let (_, error) = outcome(&label::Selector::parse_at(text(case, "text"), &spec.child("selector")));
        check.same(case, "error_at", error);
        let Ok(selector) = parsed else { return };
        check.same(case, "matches", label_matches(&selector));
        check.same(case, "exact", selector.exact_match("a").map_or(Value::Null, Value::from));
    });
}

#[test]
fn label_selector_objects_are_read_as_upstream() {
    check("label_selector_objects", 20, |check, case| {
        let parsed = label::Selector::from_object(&case["object"]);
        let (print, error) = outcome(&parsed);
        check.same(case, "print", print);
        check.same(case, "error", error);
        check.same(case, "formatted", label::format_object(&case["object"]));
        if let Ok(selector) = parsed {
            check.same(case, "matches", label_matches(&selector));
        }
    });
}

#[test]
fn field_selectors_are_read_and_matched_as_upstream() {
    let sets: [&[(&str, &str)]; 4] =
        [&[], &[("a", "b")], &[("metadata.name", "x"), ("a", "")], &[("a", "b,c"), ("s", "=")]];
    check("field_selectors", 35, |check, case| {
        let parsed: Result<fields::Selector, _> = text(case, "text").parse();
        let (print, error) = outcome(&parsed);
        check.same(case, "print", print);
        check.same(case, "error", error);
        let Ok(selector) = parsed else { return };
        check.same(case, "empty", selector.is_everything());
        check.same(case, "exact", selector.exact_match("a").map_or(Value::Null, Value::from));
        check.same(case, "matches", sets.iter().map(|set| selector.matches(*set)).collect::<Vec<_>>());
    });
}

fn label_matches(selector: &label::Selector) -> Vec<bool> {
    let sets = json!([
        {}, {"a": "b"}, {"a": "c", "x": "y"}, {"a": "", "n": "5"}, {"n": "12", "app.io/x": "v"},
        {"in": "in", "notin": "x"}
    ]);
    sets.as_array().into_iter().flatten().map(|labels| selector.matches(labels)).collect()
}

#[test]
fn field_selectors_can_be_rewritten() {
    let selector: fields::Selector = "a=1,b!=2,c=3".parse().expect("it parses");
    let renamed = selector.transform(|field, value| match field {
        "a" => Ok((String::new(), String::new())),
        "c" => Err(format!("field label not supported: {field}")),
        field => Ok((format!("spec.{field}"), value.to_string())),
    });
    assert_eq!(renamed, Err("field label not supported: c".to_string()));
    let selector: fields::Selector = "a=1,b!=2".parse().expect("it parses");
    let renamed = selector.transform(|field, value| match field {
        "a" => Ok::<_, ()>((String::new(), String::new())),
        field => Ok((format!("spec.{field}"), value.to_string())),
    });
    assert_eq!(renamed.map(|selector| selector.to_string()), Ok("spec.b!=2".into()));
}
