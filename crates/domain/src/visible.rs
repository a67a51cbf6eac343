//! What a person can see of a text. Names come from users, providers and the
//! configuration; on a page they must not reorder, hide or imitate the words around them.

/// Characters that nobody sees: controls, format characters (the bidirectional ones among
/// them), line separators, fillers, variation selectors, tags and private use (Unicode
/// general categories Cc, Cf, Zl, Zp, Co and the property `Default_Ignorable_Code_Point`).
const INVISIBLE: [(u32, u32); 30] = [
    (0x0, 0x1F),
    (0x7F, 0x9F),
    (0xAD, 0xAD),
    (0x34F, 0x34F),
    (0x600, 0x605),
    (0x61C, 0x61C),
    (0x6DD, 0x6DD),
    (0x70F, 0x70F),
    (0x890, 0x891),
    (0x8E2, 0x8E2),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x2028, 0x202E),
    (0x2060, 0x206F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xE000, 0xF8FF),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFB),
    (0x110BD, 0x110BD),
    (0x110CD, 0x110CD),
    (0x13430, 0x1343F),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
    (0xF0000, 0x0010_FFFF),
];

/// Whether nobody sees this character.
pub fn is_invisible(c: char) -> bool {
    let code = u32::from(c);
    INVISIBLE
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&code))
}

/// The text without what nobody sees, and without space at its ends.
pub fn visible(text: &str) -> String {
    let seen: String = text.chars().filter(|c| !is_invisible(*c)).collect();
    seen.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d97_whatever_unicode_calls_invisible_is_not_shown() {
        let unseen = r"^[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Default_Ignorable_Code_Point}\u{2800}]$";
        let unseen = regex::Regex::new(unseen).unwrap();
        let mut count = 0;
        for c in '\0'..=char::MAX {
            let mut buffer = [0; 4];
            let expected = unseen.is_match(c.encode_utf8(&mut buffer));
            // The ends of the private planes are no characters.
            let is_none = u32::from(c) & 0xFFFE == 0xFFFE;
            assert!(
                is_invisible(c) == expected || is_none,
                "U+{:04X}",
                u32::from(c)
            );
            count += usize::from(expected);
        }
        assert!(count > 100_000);
    }

    #[test]
    fn d97_a_name_shows_what_it_is_and_nothing_around_it() {
        for (text, shown) in [
            ("Alice Example", "Alice Example"),
            ("Zoë Ångström 李雷 علي", "Zoë Ångström 李雷 علي"),
            ("\u{202e}nimda", "nimda"),
            ("a\u{2066}b\u{2069}c", "abc"),
            ("Bank\u{200b}\u{feff}", "Bank"),
            ("a\u{2028}b\u{2029}", "ab"),
            ("\u{e0041}\u{e0042}x", "x"),
            ("\u{3164}\u{115f} \u{2800}", ""),
        ] {
            assert_eq!(visible(text), shown, "{text:?}");
        }
    }
}
