// The search of the site runs in a worker, which no browser starts for a page that was opened from a file.
// There it runs in a frame instead; mkdocs.yml takes this in the place of a script from the web.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.body.appendChild(document.createElement("iframe"));
      frame.hidden = true;
      const scope = frame.contentWindow;
      scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.loaded = new Promise((done) => {
        const script = scope.document.createElement("script");
        script.onload = done;
        script.src = url;
        scope.document.body.append(script);
      });
      this.scope = scope;
    }

    postMessage(data) {
      this.loaded.then(() => this.scope.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
