//! Frames as they passed a port: with the tag that they had there.

use dataplane::tap::Form;
use wire::{ethernet::TYPE_OFFSET as TAG_AT, vlan};

/// The frame in parts, as what it passed a port. A tag that it did not come with is put together in `tag`.
pub fn in_form<'a>(bytes: &'a [u8], form: Form, tag: &'a mut [u8; vlan::TAG_LEN]) -> [&'a [u8]; 3] {
    let Some((addresses, behind)) = bytes.split_at_checked(TAG_AT) else { return [&[], &[], bytes] };
    let tpid = vlan::TPID_8021Q.to_be_bytes();
    let untagged = match behind.split_at_checked(vlan::TAG_LEN) {
        Some((had, rest)) if had.starts_with(&tpid) => rest,
        _ => behind,
    };
    match form {
        Form::AsItCame => [&[], &[], bytes],
        Form::Untagged => [addresses, &[], untagged],
        Form::Tagged(tci) => {
            tag[..2].copy_from_slice(&tpid);
            tag[2..].copy_from_slice(&tci.to_be_bytes());
            [addresses, tag, untagged]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_shown_with_the_tag_that_it_left_with() {
        let bare = b"ddddddssssss\x08\x00payload";
        let tagged = b"ddddddssssss\x81\x00\x20\x07\x08\x00payload";
        let shown = |frame: &[u8], form| in_form(frame, form, &mut [0; 4]).concat();
        assert_eq!(shown(bare, Form::Tagged(0x2007)), tagged);
        assert_eq!(shown(bare, Form::Untagged), bare);
        assert_eq!(shown(tagged, Form::Untagged), bare);
        assert_eq!(shown(tagged, Form::Tagged(9)), b"ddddddssssss\x81\x00\x00\x09\x08\x00payload");
        assert_eq!(shown(tagged, Form::AsItCame), tagged);
        assert_eq!(shown(b"cut", Form::Tagged(9)), b"cut");
    }
}
