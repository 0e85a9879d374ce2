//! Prints the list of kinds for `cargo xtask status`: one line a kind, its fields parted by tabs: group, plural,
//! kind, versions, verbs, and subresources with theirs.

use kinds::Verb;

fn main() {
    for kind in kinds::all() {
        let versions: Vec<&str> = kind.versions.iter().map(|version| &*version.name).collect();
        let below: Vec<String> =
            kind.subresources.iter().map(|it| format!("{}={}", it.name, verbs(&it.verbs))).collect();
        let fields = [
            &kind.group,
            &kind.plural,
            &kind.kind,
            &*versions.join(","),
            &verbs(&kind.verbs),
            &below.join(" "),
        ];
        println!("{}", fields.join("\t"));
    }
}

fn verbs(verbs: &[Verb]) -> String {
    verbs.iter().map(|verb| verb.name()).collect::<Vec<_>>().join(",")
}
