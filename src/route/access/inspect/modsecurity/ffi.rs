//! libmodsecurity 3 by its C interface, loaded while the node runs. The one place with `unsafe` in the root crate.
//!
//! The argument, once. *Types*: the functions are those of the library's `modsecurity.h`, `rules_set.h` and `transaction.h`, whose
//! names and signatures have been the same since 3.0.0; what is behind a pointer of theirs is never looked at. *Lifetimes*: a
//! [`Rules`] owns its engine and its rules and is freed last, for a [`Transaction`] borrows it; the library itself is never unloaded, so
//! no function pointer dangles. *Threads*: the library is built for several transactions of one set of rules on several threads (its
//! connectors for threaded servers do that); a transaction stays on one, for it is not `Send`. *Unwinding*: what the library
//! calls back does not panic. Text that it keeps only during a call is given as it lies here; text that it gives is copied and
//! freed, or left to it.

#![allow(unsafe_code)] // each block says why

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{NonNull, null_mut};

use libloading::Library;

/// Something of the library's that is only pointed at.
#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}

/// `ModSecurityIntervention`.
#[repr(C)]
struct Intervention {
    status: c_int,
    pause: c_int,
    url: *mut c_char,
    log: *mut c_char,
    disruptive: c_int,
}

type LogCallback = unsafe extern "C" fn(*mut c_void, *const c_void);

/// The functions of the library.
struct Functions {
    init: unsafe extern "C" fn() -> *mut Opaque,
    set_connector_info: unsafe extern "C" fn(*mut Opaque, *const c_char),
    set_log_cb: unsafe extern "C" fn(*mut Opaque, LogCallback),
    cleanup: unsafe extern "C" fn(*mut Opaque),
    create_rules_set: unsafe extern "C" fn() -> *mut Opaque,
    rules_add: unsafe extern "C" fn(*mut Opaque, *const c_char, *mut *const c_char) -> c_int,
    rules_add_file: unsafe extern "C" fn(*mut Opaque, *const c_char, *mut *const c_char) -> c_int,
    rules_cleanup: unsafe extern "C" fn(*mut Opaque) -> c_int,
    new_transaction: unsafe extern "C" fn(*mut Opaque, *mut Opaque, *mut c_void) -> *mut Opaque,
    process_connection:
        unsafe extern "C" fn(*mut Opaque, *const c_char, c_int, *const c_char, c_int) -> c_int,
    process_uri: unsafe extern "C" fn(*mut Opaque, *const c_char, *const c_char, *const c_char) -> c_int,
    add_n_request_header: unsafe extern "C" fn(*mut Opaque, *const u8, usize, *const u8, usize) -> c_int,
    process_request_headers: unsafe extern "C" fn(*mut Opaque) -> c_int,
    append_request_body: unsafe extern "C" fn(*mut Opaque, *const u8, usize) -> c_int,
    process_request_body: unsafe extern "C" fn(*mut Opaque) -> c_int,
    process_logging: unsafe extern "C" fn(*mut Opaque) -> c_int,
    intervention: unsafe extern "C" fn(*mut Opaque, *mut Intervention) -> c_int,
    transaction_cleanup: unsafe extern "C" fn(*mut Opaque),
    _library: ManuallyDrop<Library>,
}

/// An engine and its rules.
pub(super) struct Rules {
    functions: Functions,
    engine: NonNull<Opaque>,
    set: NonNull<Opaque>,
}

// SAFETY: nothing in it belongs to a thread, and after they are loaded the rules are only read: see the head of this file.
unsafe impl Send for Rules {}
// SAFETY: as above.
unsafe impl Sync for Rules {}

/// One request under these rules.
pub(super) struct Transaction<'r> {
    rules: &'r Rules,
    pointer: NonNull<Opaque>,
    /// Where the library's messages go; it has the address.
    heard: *mut Heard<'r>,
    /// It stays on its thread.
    _here: PhantomData<*mut ()>,
}

/// Who is told of messages.
struct Heard<'r>(Box<dyn FnMut(&str) + 'r>);

/// What the rules demand.
pub(super) struct Demand {
    /// The status that they name.
    pub(super) status: i32,
}

/// Why the library cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Library(#[from] libloading::Error),
    #[error("it makes no engine")]
    Engine,
}

impl Functions {
    fn load(name: &str) -> Result<Self, libloading::Error> {
        // SAFETY: what a library runs when it is loaded is its own; whoever names it in the settings trusts it as this program.
        let library = ManuallyDrop::new(unsafe { Library::new(name)? });
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the type is the one that the library's header gives the name.
                unsafe { *library.get($name)? }
            };
        }
        Ok(Self {
            init: function!(c"msc_init"),
            set_connector_info: function!(c"msc_set_connector_info"),
            set_log_cb: function!(c"msc_set_log_cb"),
            cleanup: function!(c"msc_cleanup"),
            create_rules_set: function!(c"msc_create_rules_set"),
            rules_add: function!(c"msc_rules_add"),
            rules_add_file: function!(c"msc_rules_add_file"),
            rules_cleanup: function!(c"msc_rules_cleanup"),
            new_transaction: function!(c"msc_new_transaction"),
            process_connection: function!(c"msc_process_connection"),
            process_uri: function!(c"msc_process_uri"),
            add_n_request_header: function!(c"msc_add_n_request_header"),
            process_request_headers: function!(c"msc_process_request_headers"),
            append_request_body: function!(c"msc_append_request_body"),
            process_request_body: function!(c"msc_process_request_body"),
            process_logging: function!(c"msc_process_logging"),
            intervention: function!(c"msc_intervention"),
            transaction_cleanup: function!(c"msc_transaction_cleanup"),
            _library: library,
        })
    }
}

impl Rules {
    /// No rules yet.
    pub(super) fn load(library: &str) -> Result<Self, LoadError> {
        let functions = Functions::load(library)?;
        // SAFETY: it takes nothing and gives an engine, or null.
        let engine = NonNull::new(unsafe { (functions.init)() }).ok_or(LoadError::Engine)?;
        // SAFETY: the engine is the one just made; both texts and the function live as long as the program.
        unsafe {
            (functions.set_connector_info)(engine.as_ptr(), CONNECTOR.as_ptr());
            // Without one it writes to standard error.
            (functions.set_log_cb)(engine.as_ptr(), hear);
        }
        // SAFETY: it takes nothing and gives a set, or null.
        let Some(set) = NonNull::new(unsafe { (functions.create_rules_set)() }) else {
            // SAFETY: nobody else has it.
            unsafe { (functions.cleanup)(engine.as_ptr()) };
            return Err(LoadError::Engine);
        };
        Ok(Self { functions, engine, set })
    }

    /// Adds rules written here.
    ///
    /// # Errors
    /// What the library says.
    pub(super) fn add(&mut self, text: &CStr) -> Result<usize, String> {
        let mut error = std::ptr::null();
        // SAFETY: the set is ours and nobody else has it, for it is held mutably; the text ends in a zero and is copied.
        let added = unsafe { (self.functions.rules_add)(self.set.as_ptr(), text.as_ptr(), &raw mut error) };
        Self::added(added, error)
    }

    /// Adds the rules of a file.
    ///
    /// # Errors
    /// What the library says, which names file and line.
    pub(super) fn add_file(&mut self, path: &CStr) -> Result<usize, String> {
        let mut error = std::ptr::null();
        // SAFETY: as for `add`.
        let added =
            unsafe { (self.functions.rules_add_file)(self.set.as_ptr(), path.as_ptr(), &raw mut error) };
        Self::added(added, error)
    }

    fn added(added: c_int, error: *const c_char) -> Result<usize, String> {
        // Below zero nothing of it holds, and the engine would go on as if there were no rules.
        usize::try_from(added).map_err(|_| {
            if error.is_null() {
                return "the library does not say why".to_owned();
            }
            // SAFETY: where it fails it points to a text that ends in a zero; the library never frees it, and few are made.
            let text = unsafe { CStr::from_ptr(error) };
            text.to_string_lossy().trim().to_owned()
        })
    }

    /// A request of this client; `hear` is told what the library has to say of it. `None`: it makes none.
    pub(super) fn transaction<'r>(
        &'r self,
        client: &CStr,
        port: u16,
        hear: impl FnMut(&str) + 'r,
    ) -> Option<Transaction<'r>> {
        let heard = Box::into_raw(Box::new(Heard(Box::new(hear))));
        // SAFETY: engine and rules live as long as `self`, which the transaction borrows; `heard` is freed behind it.
        let pointer = unsafe {
            (self.functions.new_transaction)(self.engine.as_ptr(), self.set.as_ptr(), heard.cast())
        };
        let Some(pointer) = NonNull::new(pointer) else {
            // SAFETY: made above, and given to nobody.
            drop(unsafe { Box::from_raw(heard) });
            return None;
        };
        let transaction = Transaction { rules: self, pointer, heard, _here: PhantomData };
        // SAFETY: the transaction is ours; the texts end in a zero and are copied.
        unsafe {
            (self.functions.process_connection)(
                pointer.as_ptr(),
                client.as_ptr(),
                port.into(),
                NOWHERE.as_ptr(),
                0,
            );
        }
        Some(transaction)
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        // SAFETY: every transaction has borrowed `self`, so there is none left; the rules go before their engine.
        unsafe {
            (self.functions.rules_cleanup)(self.set.as_ptr());
            (self.functions.cleanup)(self.engine.as_ptr());
        }
    }
}

impl Transaction<'_> {
    /// The request line; `version` as in `1.1`.
    pub(super) fn request_line(&mut self, method: &CStr, target: &CStr, version: &CStr) {
        // SAFETY: the transaction is ours; the texts end in a zero and are copied.
        unsafe {
            (self.rules.functions.process_uri)(
                self.pointer.as_ptr(),
                target.as_ptr(),
                method.as_ptr(),
                version.as_ptr(),
            );
        }
    }

    /// A field.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        // SAFETY: the transaction is ours; so many bytes lie there, and are copied.
        unsafe {
            (self.rules.functions.add_n_request_header)(
                self.pointer.as_ptr(),
                name.as_ptr(),
                name.len(),
                value.as_ptr(),
                value.len(),
            );
        }
    }

    /// All fields are told.
    pub(super) fn fields_end(&mut self) {
        // SAFETY: the transaction is ours.
        unsafe { (self.rules.functions.process_request_headers)(self.pointer.as_ptr()) };
    }

    /// A piece of the body.
    pub(super) fn body(&mut self, piece: &[u8]) {
        // SAFETY: the transaction is ours; so many bytes lie there, and are copied.
        unsafe {
            (self.rules.functions.append_request_body)(self.pointer.as_ptr(), piece.as_ptr(), piece.len());
        }
    }

    /// There is no more of it, or none at all.
    pub(super) fn body_ends(&mut self) {
        // SAFETY: the transaction is ours.
        unsafe { (self.rules.functions.process_request_body)(self.pointer.as_ptr()) };
    }

    /// Whether the rules demand that the request is not answered, as far as they have been told of it.
    pub(super) fn demand(&mut self) -> Option<Demand> {
        let mut said =
            Intervention { status: 200, pause: 0, url: null_mut(), log: null_mut(), disruptive: 0 };
        // SAFETY: the transaction is ours; it fills the struct, whose layout is the header's.
        let intervenes =
            unsafe { (self.rules.functions.intervention)(self.pointer.as_ptr(), &raw mut said) } != 0;
        for text in [said.url, said.log] {
            // SAFETY: null, or made by `strdup` for whoever asked.
            unsafe { free(text.cast()) };
        }
        intervenes.then_some(Demand { status: said.status })
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // SAFETY: it is ours and nobody uses it again; what it tells of its end goes to `heard`, which is freed behind it.
        unsafe {
            (self.rules.functions.process_logging)(self.pointer.as_ptr());
            (self.rules.functions.transaction_cleanup)(self.pointer.as_ptr());
            drop(Box::from_raw(self.heard));
        }
    }
}

/// Takes a message. Called by the library, on the thread of the transaction that it is about.
unsafe extern "C" fn hear(heard: *mut c_void, message: *const c_void) {
    if heard.is_null() || message.is_null() {
        return;
    }
    // SAFETY: `heard` is what `Rules::transaction` gave, alive until the transaction is over, and no other reference to it exists during a
    // call of the library; the message is text that ends in a zero.
    let (heard, message) =
        unsafe { (&mut *heard.cast::<Heard<'_>>(), CStr::from_ptr(message.cast::<c_char>())) };
    (heard.0)(&message.to_string_lossy());
}

/// A text for the library; `None` where there is a zero in it.
pub(super) fn text(bytes: &[u8]) -> Option<CString> {
    CString::new(bytes).ok()
}

// SAFETY: the C library's, which the library allocates with.
unsafe extern "C" {
    fn free(pointer: *mut c_void);
}

/// Who it is that asks the library.
const CONNECTOR: &CStr = c"Tidegate";
/// The address of this end, which rules hardly ask for.
const NOWHERE: &CStr = c"0.0.0.0";
