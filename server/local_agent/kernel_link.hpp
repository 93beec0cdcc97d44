// The agent's connection to one kernel's supervisor.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "bai_manager/json.hpp"
#include "local_agent/event_loop.hpp"
#include "local_agent/executions.hpp"
#include "local_agent/frame_stream.hpp"
#include "local_agent/kernel_config.hpp"

namespace bai::server::local {

struct LinkHandlers {
  std::function<void(const KernelState&)> on_state;   // at first, and at every change
  std::function<void(const std::string&)> on_failed;  // it could not start; on_gone follows
  std::function<void()> on_gone;  // the supervisor has exited; open calls were answered before
};

// Loop thread only. Handlers may destroy the link.
class KernelLink {
 public:
  // Starts a supervisor for `dir`, whose kernel.json exists.
  static Result<std::unique_ptr<KernelLink>> start(EventLoop& loop, const std::string& executable,
                                                   const std::string& dir, LinkHandlers handlers);
  // Connects to the running one. Unavailable when there is none.
  static Result<std::unique_ptr<KernelLink>> attach(EventLoop& loop, const std::string& dir,
                                                    LinkHandlers handlers);
  ~KernelLink();  // the supervisor goes on

  // Returns the call's number, for forget(). Answered with RuntimeError when the supervisor goes.
  std::int64_t call(Json request, CallReply reply);
  void forget(std::int64_t call);  // nobody waits for the answer any more
  void kill();                     // SIGKILL to the supervisor
  // After on_gone: removes the process from the table when it is our child.
  void reap();

 private:
  KernelLink(EventLoop& loop, Fd socket, LinkHandlers handlers);
  void on_message(const Json& message);
  void on_close();

  LinkHandlers handlers_;
  Fd process_;  // pidfd
  std::map<std::int64_t, CallReply> calls_;
  std::int64_t next_call_ = 1;
  std::unique_ptr<FrameStream> stream_;
};

}  // namespace bai::server::local
