//! Users and groups of an image, read from its own /etc/passwd and /etc/group.

/// The largest passwd or group file that is read; what lies beyond is not seen.
pub const MAX_FILE: u64 = 4 << 20;

/// Who a container runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    pub uid: u32,
    pub gid: u32,
    /// Without `gid`, sorted.
    pub groups: Vec<u32>,
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn fields(text: &[u8]) -> impl Iterator<Item = Vec<&str>> {
    text.split(|&byte| byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(|line| line.trim_end_matches('\r'))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split(':').collect())
}

fn passwd(text: &[u8]) -> impl Iterator<Item = Passwd<'_>> {
    fields(text).filter_map(|fields| {
        let at = |index: usize| fields.get(index).copied().unwrap_or("");
        Some(Passwd { name: at(0), uid: at(2).parse().ok()?, gid: at(3).parse().ok()?, home: at(5) })
    })
}

/// (name, gid, members)
fn groups(text: &[u8]) -> impl Iterator<Item = (&str, u32, Vec<&str>)> {
    fields(text).filter_map(|fields| {
        let members = fields.get(3).map(|list| list.split(',').collect()).unwrap_or_default();
        Some((*fields.first()?, fields.get(2)?.parse().ok()?, members))
    })
}

/// The home directory of `uid`.
pub fn home_of(text: &[u8], uid: u32) -> Option<String> {
    passwd(text)
        .find(|entry| entry.uid == uid)
        .map(|entry| entry.home.to_owned())
        .filter(|home| !home.is_empty())
}

/// Resolves `user[:group]`, each a name or a number, as an image or a pod names it. An empty user is root.
pub fn resolve(spec: &str, passwd_file: &[u8], group_file: &[u8]) -> Result<Resolved, String> {
    let (user, group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number: Option<u32> = user.parse().ok();
    let entry = passwd(passwd_file).find(|entry| match number {
        Some(uid) => entry.uid == uid,
        None => entry.name == user,
    });
    let (uid, mut gid, name) = match (&entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, Some(entry.name)),
        (None, Some(uid)) => (uid, 0, None),
        (None, None) => {
            return Err(format!("unable to find user {user}: no matching entries in passwd file"));
        }
    };
    if let Some(group) = group.filter(|group| !group.is_empty()) {
        gid = match group.parse() {
            Ok(gid) => gid,
            Err(_) => groups(group_file)
                .find(|(name, ..)| *name == group)
                .map(|(_, gid, _)| gid)
                .ok_or_else(|| format!("unable to find group {group}: no matching entries in group file"))?,
        };
    }
    let mut member_of: Vec<u32> = match name {
        Some(name) => groups(group_file)
            .filter(|(.., members)| members.contains(&name))
            .map(|(_, gid, _)| gid)
            .filter(|&other| other != gid)
            .collect(),
        None => Vec::new(),
    };
    member_of.sort_unstable();
    member_of.dedup();
    Ok(Resolved { uid, gid, groups: member_of })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# comment\nweb:x:33:34:www:/var/www:/bin/false\nbroken:x:a:b\n\xff\xfe:x:1:1::/:\n";
    const GROUP: &[u8] = b"root:x:0:\nwheel:x:10:root,web\ntape:x:26:web\nweb:x:34:web\n";

    #[test]
    fn users_are_found_by_name_and_number() {
        let found = |uid, gid, groups: &[u32]| Ok(Resolved { uid, gid, groups: groups.to_vec() });
        for (spec, expected) in [
            ("", found(0, 0, &[10])),
            ("web", found(33, 34, &[10, 26])),
            ("33", found(33, 34, &[10, 26])),
            ("33:tape", found(33, 26, &[10, 34])),
            ("1234", found(1234, 0, &[])),
            ("1234:5", found(1234, 5, &[])),
            (":wheel", found(0, 10, &[])),
            ("nobody", Err("unable to find user nobody: no matching entries in passwd file".to_owned())),
            (
                "web:nogroup",
                Err("unable to find group nogroup: no matching entries in group file".to_owned()),
            ),
            ("broken", Err("unable to find user broken: no matching entries in passwd file".to_owned())),
        ] {
            assert_eq!(resolve(spec, PASSWD, GROUP), expected, "{spec:?}");
        }
        assert_eq!(home_of(PASSWD, 33).as_deref(), Some("/var/www"));
        assert_eq!(home_of(PASSWD, 5), None);
    }
}
