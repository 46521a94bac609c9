use wasmtime::component::Linker;

use super::{Bytes, Cx, bounded, charge, charge_bytes, copy, crypto::is_signed, lent, offer, pause_if_burnt, slice};
use crate::guest::GuestState;

/// Bytes of a note.
const NOTE_BYTES_MAX: usize = 64 << 10;
/// How often one call may say what it notes: more than notes fit into a block.
const NOTED_MAX: usize = 1_024;
/// Fuel of a call.
const CALL_FUEL: u64 = 1_000;
/// Fuel of checking a signature, some 40 us.
const SIGNATURE_FUEL: u64 = 40_000;

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut notes = linker.instance("subnode:chain/notes@0.1.4")?;
    offer(&mut notes, "waiting", |cx, (): ()| {
        let waiting = lent(cx)?.notes.as_mut().map_or_else(Vec::new, |notes| notes.waiting());
        charge_bytes(cx, CALL_FUEL, waiting.iter().map(Vec::len).sum())?;
        Ok((waiting,))
    })?;
    notes.func_wrap_async("open", |mut cx: Cx<'_>, (note,): (Bytes,)| {
        Box::new(async move {
            bounded("bytes of a note", note.len(), NOTE_BYTES_MAX)?;
            charge_bytes(&mut cx, CALL_FUEL, note.len())?;
            let note = copy(&cx, &note);
            let Some(opening) = lent(&mut cx)?.notes.as_ref().and_then(|notes| notes.open(&note)) else { return Ok((None,)) };
            for (signer, signature) in &opening.signatures {
                charge(&mut cx, SIGNATURE_FUEL)?;
                if !is_signed(&signer.0, &opening.text, signature) {
                    return Ok((None,));
                }
                pause_if_burnt(&mut cx).await;
            }
            Ok((Some(opening.statement),))
        })
    })?;
    offer(&mut notes, "noted", |cx, (kind, subject, position): (u16, Bytes, u64)| {
        charge(cx, CALL_FUEL)?;
        let subject: Option<[u8; 32]> = slice(cx, &subject).try_into().ok();
        if let (Some(notes), Some(subject)) = (&mut lent(cx)?.notes, subject) {
            bounded("notes of a block", notes.noted(kind, subject, position), NOTED_MAX)?;
        }
        Ok(())
    })
}
