// What requests and events are called on the agents' wire, and in metrics and logs.
#include "bai_manager/agent.hpp"

namespace bai {
namespace {

struct RequestName {
  std::string_view operator()(const CheckAndPull&) const { return "check_and_pull"; }
  std::string_view operator()(const CreateKernels&) const { return "create_kernels"; }
  std::string_view operator()(const DestroyKernel&) const { return "destroy_kernel"; }
  std::string_view operator()(const CheckCreating&) const { return "check_creating"; }
  std::string_view operator()(const CheckRunning&) const { return "check_running"; }
  std::string_view operator()(const SyncKernelRegistry&) const { return "sync_kernel_registry"; }
  std::string_view operator()(const TriggerBatch&) const { return "trigger_batch_execution"; }
  std::string_view operator()(const Execute&) const { return "execute"; }
  std::string_view operator()(const InterruptKernel&) const { return "interrupt_kernel"; }
  std::string_view operator()(const GetCompletions&) const { return "get_completions"; }
  std::string_view operator()(const GetLogs&) const { return "get_logs"; }
  std::string_view operator()(const ListFiles&) const { return "list_files"; }
  std::string_view operator()(const UploadFile&) const { return "upload_file"; }
  std::string_view operator()(const DownloadFile&) const { return "download_file"; }
  std::string_view operator()(const DownloadSingle&) const { return "download_single"; }
  std::string_view operator()(const PingAgent&) const { return "ping"; }
};

struct EventName {
  std::string_view operator()(const AgentStarted&) const { return "agent_started"; }
  std::string_view operator()(const AgentTerminated&) const { return "agent_terminated"; }
  std::string_view operator()(const AgentHeartbeat&) const { return "agent_heartbeat"; }
  std::string_view operator()(const ImagePullStarted&) const { return "image_pull_started"; }
  std::string_view operator()(const ImagePullFinished&) const { return "image_pull_finished"; }
  std::string_view operator()(const ImagePullFailed&) const { return "image_pull_failed"; }
  std::string_view operator()(const KernelPreparing&) const { return "kernel_preparing"; }
  std::string_view operator()(const KernelPulling&) const { return "kernel_pulling"; }
  std::string_view operator()(const KernelCreating&) const { return "kernel_creating"; }
  std::string_view operator()(const KernelStarted&) const { return "kernel_started"; }
  std::string_view operator()(const KernelTerminated&) const { return "kernel_terminated"; }
  std::string_view operator()(const KernelCancelled&) const { return "kernel_cancelled"; }
  std::string_view operator()(const BatchFinished& e) const {
    return e.success ? "session_success" : "session_failure";
  }
};

}  // namespace

std::string_view request_name(const AgentRequest& request) noexcept {
  return std::visit(RequestName{}, request);
}

std::string_view event_name(const AgentEventBody& body) noexcept {
  return std::visit(EventName{}, body);
}

}  // namespace bai
