"use strict";
/* One recording is heard through one of its sounds at a time: a press on another goes on at the same place. */
for (const card of document.querySelectorAll(".sounds")) {
  const seek = card.parentElement.querySelector(".seek");
  const sounds = [...card.querySelectorAll("figure")].map((figure) => ({
    audio: figure.querySelector("audio"), button: figure.querySelector(".hear"), picture: figure.querySelector(".heard"),
  }));
  let heard = sounds[0];
  const seconds = () => Number(seek.max);

  function show() {
    const at = heard.audio.currentTime;
    for (const sound of sounds) {
      sound.button.setAttribute("aria-pressed", String(sound === heard && !heard.audio.paused));
      sound.picture.style.setProperty("--at", `${100 * Math.min(1, at / seconds())}%`);
    }
    seek.value = at;
    seek.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${seconds().toFixed(1)} seconds`);
  }

  function follow() {
    show();
    if (!heard.audio.paused) requestAnimationFrame(follow);
  }

  async function play(sound, at) {
    const before = heard;
    heard = sound;
    sound.audio.currentTime = at < seconds() - 0.05 ? at : 0;
    for (const other of document.querySelectorAll("audio")) {
      if (other !== sound.audio && other !== before.audio) other.pause();
    }
    await sound.audio.play();
    if (before !== sound) before.audio.pause(); // once the other sounds, so that there is no gap
    follow();
  }

  for (const sound of sounds) {
    sound.audio.controls = false; // they are for browsers that run no scripts
    sound.button.hidden = false;
    sound.button.addEventListener("click", () => {
      if (sound === heard && !sound.audio.paused) sound.audio.pause();
      else play(sound, heard.audio.currentTime);
    });
    sound.picture.addEventListener("click", (event) => {
      const box = sound.picture.getBoundingClientRect();
      play(sound, seconds() * (event.clientX - box.left) / box.width);
    });
    for (const event of ["play", "pause", "ended", "seeked"]) sound.audio.addEventListener(event, show);
  }
  seek.hidden = false;
  seek.addEventListener("input", () => { heard.audio.currentTime = Number(seek.value); });
}
