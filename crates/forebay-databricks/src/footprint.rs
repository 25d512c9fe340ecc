//! What a log holds in memory, which is what an exporter charges it for.

use crate::wire::{
    ClientContext, ConnectionParameters, Context, Entry, ErrorInfo, FrontendLog, OperationDetail, SqlDriverLog,
    SqlOperation, SystemConfiguration, VolumeOperation,
};
use forebay_core::Footprint;

/// The fields that can hold heap memory; all others are in the size of the type.
macro_rules! heap_of {
    ($($type:ty { $($field:ident)* })*) => {$(
        impl Footprint for $type {
            fn heap(&self) -> usize {
                0 $(+ self.$field.heap())*
            }
        }
    )*};
}
heap_of! {
    FrontendLog { frontend_log_event_id context entry }
    Context { client_context }
    ClientContext { user_agent }
    Entry { sql_driver_log }
    SqlDriverLog {
        session_id sql_statement_id system_configuration driver_connection_params auth_type vol_operation sql_operation
        error_info
    }
    SystemConfiguration {
        driver_version runtime_name runtime_version runtime_vendor os_name os_version os_arch driver_name
        client_app_name locale_name char_set_encoding process_name
    }
    ConnectionParameters { http_path mode }
    SqlOperation { statement_type execution_result operation_detail }
    OperationDetail { operation_type }
    VolumeOperation { volume_operation_type volume_path }
    ErrorInfo { error_name stack_trace }
}
